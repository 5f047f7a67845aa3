"""Watches orders and a book by gRPC: docs/clients.md says how to run it."""

import os
import uuid
import zlib
from decimal import Decimal

import grpc
from penstock.v1 import auth_service_pb2 as auth
from penstock.v1 import market_data_service_pb2 as market
from penstock.v1 import order_pb2, order_service_pb2 as orders

channel = grpc.insecure_channel(
    os.environ.get("PENSTOCK_GRPC", "http://127.0.0.1:50051").removeprefix("http://"),
    options=[("grpc.keepalive_time_ms", 20_000)],  # a way to the server that ended in silence is noticed
)
metadata = []


def call(service, method, request, answer):
    path = f"/penstock.v1.{service}/{method}"
    return channel.unary_unary(path, type(request).SerializeToString, answer.FromString)(
        request, metadata=metadata, timeout=5
    )


def watch(service, method, request, answer):
    """A stream of answers: without a timeout, which would end it."""
    path = f"/penstock.v1.{service}/{method}"
    return channel.unary_stream(path, type(request).SerializeToString, answer.FromString)(request, metadata=metadata)


login = auth.IssueTokenRequest(account=os.environ["PENSTOCK_ACCOUNT"], secret=os.environ["PENSTOCK_SECRET"])
token = call("AuthService", "IssueToken", login, auth.IssueTokenResponse).token
metadata.append(("authorization", "Bearer " + token))

client_order_id = str(uuid.uuid4())
order = orders.SubmitOrderRequest(
    client_order_id=client_order_id,
    symbol="BTC-USD",
    side=order_pb2.SIDE_BUY,
    type=order_pb2.ORDER_TYPE_LIMIT,
    quantity="0.1",
    price="90.5",
)
# By partition the place of the last report: a watch that ended with UNAVAILABLE or RESOURCE_EXHAUSTED goes on behind it.
places = {}
reports = watch("OrderService", "WatchOrders", orders.WatchOrdersRequest(), orders.WatchOrdersResponse)
for answer in reports:
    if answer.WhichOneof("update") == "heartbeat":
        call("OrderService", "SubmitOrder", order, orders.SubmitOrderResponse)
        continue
    report = answer.execution
    places[report.position.partition] = report.position
    if report.order.client_order_id == client_order_id:
        print("reported", order_pb2.ExecType.Name(report.exec_type), report.order.quantity)
        break
reports.cancel()

cancel = orders.CancelOrderRequest(
    client_request_id=str(uuid.uuid4()), symbol="BTC-USD", client_order_id=client_order_id
)
call("OrderService", "CancelOrder", cancel, orders.CancelOrderResponse)
behind = orders.WatchOrdersRequest(after=places.values())
for answer in watch("OrderService", "WatchOrders", behind, orders.WatchOrdersResponse):
    if answer.WhichOneof("update") == "execution":
        print("resumed", order_pb2.ExecType.Name(answer.execution.exec_type), answer.execution.reason)
        break

levels = {"bids": {}, "asks": {}}
request = market.WatchBookRequest(symbol="BTC-USD")
for answer in watch("MarketDataService", "WatchBook", request, market.WatchBookResponse):
    kind = answer.WhichOneof("update")
    update = getattr(answer, kind)
    for side, known in levels.items():
        if kind == "snapshot":
            known.clear()
        for level in getattr(update, side, ()):
            known[level.price] = level
            if level.quantity == "0":
                del known[level.price]
    best = [
        *sorted(levels["bids"].values(), key=lambda level: -Decimal(level.price))[:10],
        *sorted(levels["asks"].values(), key=lambda level: Decimal(level.price))[:10],
    ]
    text = "".join(f"{level.price}:{level.quantity}:{level.orders}|" for level in best)
    assert zlib.crc32(text.encode()) == update.checksum
    print("proven", "version", update.version, "with", len(levels["bids"]), "bids and", len(levels["asks"]), "asks")
    break  # or stay
