"""A client in Python by gRPC: docs/clients.md says how to run it."""

import os
import uuid

import grpc
from google.rpc import error_details_pb2, status_pb2
from penstock.v1 import auth_service_pb2 as auth
from penstock.v1 import market_data_service_pb2 as market
from penstock.v1 import order_pb2, order_service_pb2 as orders

address = os.environ.get("PENSTOCK_GRPC", "http://127.0.0.1:50051").removeprefix("http://")
channel = grpc.insecure_channel(address)
metadata = []


def call(service, method, request, answer):
    path = f"/penstock.v1.{service}/{method}"
    stub = channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
    return stub(request, metadata=metadata, timeout=5)


def field_errors(error):
    """The fields at fault, from the details of a refusal."""
    trailers = dict(error.trailing_metadata())
    for detail in status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            yield from bad.field_violations


login = auth.IssueTokenRequest(account=os.environ["PENSTOCK_ACCOUNT"], secret=os.environ["PENSTOCK_SECRET"])
token = call("AuthService", "IssueToken", login, auth.IssueTokenResponse).token
metadata.append(("authorization", "Bearer " + token))

listed = call("MarketDataService", "ListInstruments", market.ListInstrumentsRequest(), market.ListInstrumentsResponse)
print("instruments", *(instrument.symbol for instrument in listed.instruments))

order = orders.SubmitOrderRequest(
    client_order_id=str(uuid.uuid4()),
    symbol="BTC-USD",
    side=order_pb2.SIDE_BUY,
    type=order_pb2.ORDER_TYPE_LIMIT,
    quantity="0.1",
    price="100.25",
)
first = call("OrderService", "SubmitOrder", order, orders.SubmitOrderResponse)
print("submitted", first.order_id)

# After a lost answer just send it again: it is one order, and the first answer.
again = call("OrderService", "SubmitOrder", order, orders.SubmitOrderResponse)
assert again.order_id == first.order_id and again.duplicate
print("duplicate", again.order_id)

bad = orders.SubmitOrderRequest()
bad.CopyFrom(order)
bad.client_order_id, bad.quantity, bad.price = str(uuid.uuid4()), "", "100.251"
try:
    call("OrderService", "SubmitOrder", bad, orders.SubmitOrderResponse)
    raise SystemExit("a bad order was taken")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    for violation in field_errors(error):
        print("refused", violation.field, violation.description)

cancel = orders.CancelOrderRequest(client_request_id=str(uuid.uuid4()), order_id=first.order_id)
print("cancel asked", call("OrderService", "CancelOrder", cancel, orders.CancelOrderResponse).command_id)

get = orders.GetOrderRequest(symbol="BTC-USD", client_order_id=order.client_order_id)
found = call("OrderService", "GetOrder", get, orders.GetOrderResponse).order
assert found.order_id == first.order_id
print("got", found.quantity, "at", found.price)

# A list is complete up to the place that it names: a new order may stand in it a moment later.
newest = call("OrderService", "ListOrders", orders.ListOrdersRequest(page_size=10), orders.ListOrdersResponse)
print("listed", len(newest.orders))
