"""Submits an order twice and reads it back: docs/clients.md says how to run it."""

import json

import grpc
from penstock.v1 import order_pb2, order_service_pb2

with open(".penstock/stack.json") as file:
    stack = json.load(file)
channel = grpc.insecure_channel(stack["grpc"].removeprefix("http://"))
metadata = [("authorization", "Bearer " + stack["token"])]


def call(method, request, answer):
    path = "/penstock.v1.OrderService/" + method
    stub = channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
    return stub(request, metadata=metadata, timeout=5)


order = order_service_pb2.SubmitOrderRequest(
    client_order_id="py-1",
    symbol="BTC-USD",
    side=order_pb2.SIDE_BUY,
    type=order_pb2.ORDER_TYPE_LIMIT,
    quantity="0.1",
    price="100.25",
)
first = call("SubmitOrder", order, order_service_pb2.SubmitOrderResponse)
again = call("SubmitOrder", order, order_service_pb2.SubmitOrderResponse)
assert again.order_id == first.order_id and again.duplicate
print(call("GetOrder", order_service_pb2.GetOrderRequest(order_id=first.order_id), order_service_pb2.GetOrderResponse))

order.price = "100.251"
try:
    call("SubmitOrder", order, order_service_pb2.SubmitOrderResponse)
except grpc.RpcError as refusal:
    print(refusal.code(), refusal.details())
