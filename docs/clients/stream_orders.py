"""Sends orders and a cancel by one StreamOrders: docs/clients.md says how to run it."""

import os
import time

import grpc
from penstock.v1 import auth_service_pb2, order_pb2, order_service_pb2

ORDERS = 1000

channel = grpc.insecure_channel(
    os.environ.get("PENSTOCK_GRPC", "http://127.0.0.1:50051").removeprefix("http://"),
    options=[("grpc.keepalive_time_ms", 20_000)],  # a way to the server that ended in silence is noticed
)
issue_token = channel.unary_unary(
    "/penstock.v1.AuthService/IssueToken",
    auth_service_pb2.IssueTokenRequest.SerializeToString,
    auth_service_pb2.IssueTokenResponse.FromString,
)
account, secret = os.environ["PENSTOCK_ACCOUNT"], os.environ["PENSTOCK_SECRET"]
signed_in = issue_token(auth_service_pb2.IssueTokenRequest(account=account, secret=secret), timeout=10)
metadata = [("authorization", "Bearer " + signed_in.token)]
run = str(time.time_ns())


def commands():
    for n in range(1, ORDERS + 1):
        order = order_service_pb2.SubmitOrderRequest(
            client_order_id=f"{run}-{n}",
            symbol="BTC-USD",
            side=order_pb2.SIDE_BUY,
            type=order_pb2.ORDER_TYPE_LIMIT,
            quantity="0.1",
            price="100.25",
        )
        yield order_service_pb2.StreamOrdersRequest(sequence=n, submit=order)
    cancel = order_service_pb2.CancelOrderRequest(
        client_request_id=run, symbol="BTC-USD", client_order_id=f"{run}-1"
    )
    yield order_service_pb2.StreamOrdersRequest(sequence=ORDERS + 1, cancel=cancel)


stream = channel.stream_stream(
    "/penstock.v1.OrderService/StreamOrders",
    order_service_pb2.StreamOrdersRequest.SerializeToString,
    order_service_pb2.StreamOrdersResponse.FromString,
)
# The generator runs in a thread of its own, so commands go out while answers come in.
outcomes = {}
for answer in stream(commands(), metadata=metadata, timeout=60):
    outcomes[answer.sequence] = answer.WhichOneof("result")
    if outcomes[answer.sequence] == "refused":
        print(answer.sequence, answer.refused.code, answer.refused.message)
assert list(outcomes.values()).count("submit") == ORDERS and outcomes[ORDERS + 1] == "cancel"
print(f"{ORDERS} orders and a cancel, each answered")
