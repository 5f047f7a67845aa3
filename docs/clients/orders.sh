#!/bin/sh
# A client of JSON by curl: docs/clients.md says how to run it.
set -eu
door=${PENSTOCK_HTTP:-http://127.0.0.1:8080}
id=curl-$$-$(date +%s)
token=

# call SERVICE/METHOD JSON [more of curl's options]; the answer, or the refusal, is one line of JSON
call() {
  path=$1 json=$2
  shift 2
  curl --silent --show-error --max-time 5 "$@" --header "authorization: Bearer $token" \
    --header "content-type: application/json" --data "$json" "$door/penstock.v1.$path"
}
text_of() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }

answer=$(call AuthService/IssueToken "{\"account\":\"$PENSTOCK_ACCOUNT\",\"secret\":\"$PENSTOCK_SECRET\"}" --fail-with-body)
token=$(echo "$answer" | text_of token)

instruments=$(call MarketDataService/ListInstruments '{}' --fail-with-body)
echo "instruments $instruments"

order="\"clientOrderId\":\"$id\",\"symbol\":\"BTC-USD\",\"side\":\"SIDE_BUY\",\"type\":\"ORDER_TYPE_LIMIT\""
first=$(call OrderService/SubmitOrder "{$order,\"quantity\":\"0.1\",\"price\":\"100.25\"}" --fail-with-body)
order_id=$(echo "$first" | text_of orderId)
echo "submitted $order_id"

# After a lost answer just send it again: it is one order, and the first answer.
again=$(call OrderService/SubmitOrder "{$order,\"quantity\":\"0.1\",\"price\":\"100.25\"}" --fail-with-body)
echo "duplicate $(echo "$again" | sed -n '/"duplicate":true/p' | text_of orderId)"

echo "refused $(call OrderService/SubmitOrder "{$order,\"price\":\"100.251\"}")"

cancel=$(call OrderService/CancelOrder "{\"clientRequestId\":\"$id-cancel\",\"orderId\":\"$order_id\"}" --fail-with-body)
echo "cancel asked $(echo "$cancel" | text_of commandId)"

got=$(call OrderService/GetOrder "{\"symbol\":\"BTC-USD\",\"clientOrderId\":\"$id\"}" --fail-with-body)
echo "got $got"

# A list is complete up to the place that it names: a new order may stand in it a moment later.
newest=$(call OrderService/ListOrders '{"pageSize":10}' --fail-with-body)
echo "listed $newest"
