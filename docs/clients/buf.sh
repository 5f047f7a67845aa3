#!/bin/sh
# A client by `buf curl`, which asks the server by reflection what there is: docs/clients.md says how to run it.
set -eu
door=${PENSTOCK_GRPC:-http://127.0.0.1:50051}
id=buf-$$-$(date +%s)
token=

# call SERVICE/METHOD JSON; the answer is JSON; so is a refusal, and then it fails
call() {
  buf curl --protocol grpc --http2-prior-knowledge --header "authorization: Bearer $token" --data "$2" "$door/penstock.v1.$1"
}
text_of() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

answer=$(call AuthService/IssueToken "{\"account\":\"$PENSTOCK_ACCOUNT\",\"secret\":\"$PENSTOCK_SECRET\"}")
token=$(echo "$answer" | text_of token)

instruments=$(call MarketDataService/ListInstruments '{}')
echo "instruments $instruments"

order="\"client_order_id\":\"$id\",\"symbol\":\"BTC-USD\",\"side\":\"SIDE_BUY\",\"type\":\"ORDER_TYPE_LIMIT\""
first=$(call OrderService/SubmitOrder "{$order,\"quantity\":\"0.1\",\"price\":\"100.25\"}")
order_id=$(echo "$first" | text_of orderId)
echo "submitted $order_id"

# After a lost answer just send it again: it is one order, and the first answer.
again=$(call OrderService/SubmitOrder "{$order,\"quantity\":\"0.1\",\"price\":\"100.25\"}")
echo "$again" | grep -q '"duplicate": *true'
echo "duplicate $(echo "$again" | text_of orderId)"

if refusal=$(call OrderService/SubmitOrder "{$order,\"price\":\"100.251\"}" 2>&1); then exit 1; fi
# buf leaves the details of gRPC's errors packed.
echo "refused $(echo "$refusal" | text_of value | base64 -d 2>/dev/null | buf convert --type google.rpc.BadRequest)"

cancel=$(call OrderService/CancelOrder "{\"client_request_id\":\"$id-cancel\",\"order_id\":\"$order_id\"}")
echo "cancel asked $(echo "$cancel" | text_of commandId)"

got=$(call OrderService/GetOrder "{\"symbol\":\"BTC-USD\",\"client_order_id\":\"$id\"}")
echo "got $got"

# A list is complete up to the place that it names: a new order may stand in it a moment later.
newest=$(call OrderService/ListOrders '{"page_size":10}')
echo "listed $newest"
