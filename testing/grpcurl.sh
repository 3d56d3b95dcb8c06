#!/usr/bin/env bash
# Every call that Skald serves, once, as a person would make it: with grpcurl, from reflection alone. Each answer is checked, and
# at the end the calls that were made are compared with those that reflection lists: one that is missing here is a failure.
#
#   ./dev up                 # in another terminal; then, as often as you like:
#   testing/grpcurl.sh
#
# It needs nothing but bash and grpcurl. SKALD, INVENTORY and PAYMENT say where the services are. Troubles that it can't make
# itself (a dead letter, a quarantined order, a refund of which nobody knows) are used when they are there.
set -euo pipefail

: "${SKALD:=localhost:7070}" "${INVENTORY:=localhost:7080}" "${PAYMENT:=localhost:7090}"
RUN=grpcurl-$(date +%s)-$$   # in every name, so that runs don't meet
CALLED=$(mktemp)
repair=()                    # what must not stay as it is when this ends early
trap 'rm -f "$CALLED"; for late in "${repair[@]}"; do eval "$late" >/dev/null || true; done' EXIT
ORDERS=skald.order.v1.OrderService SAGAS=skald.saga.v1.SagaService ADMIN=skald.admin.v1.AdminService
STOCK=skald.inventory.v1.InventoryService MONEY=skald.payment.v1.PaymentService
PARTICIPANT=skald.participant.v1.ParticipantService DESK=skald.participant.v1.ParticipantAdminService
HEALTH=grpc.health.v1.Health

# ---- tools ---------------------------------------------------------------------------------------------------

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\nthe last call was %s; it answered:\n%s\n' "$*" "$last" "$said" >&2; exit 1; }

# try ADDRESS METHOD [MESSAGE]: makes a call; what it answered is in $said, how it ended in $code.
try() {
  last="$2 at $1 with ${3:-nothing}" code=0
  echo "${2/\// }" >>"$CALLED"
  said=$(grpcurl -plaintext -max-time "${SECONDS_AT_MOST:-60}" -d "${3:-}" "$1" "$2" 2>&1 | tr -s ' ') || code=$?
}

# call ADDRESS METHOD [MESSAGE]: it must work.
call() {
  try "$@"
  [ "$code" = 0 ] || fail "it must work"
  printf 'ok %s\n' "$2"
}

# refused CODE ADDRESS METHOD [MESSAGE]: it must be refused, so.
refused() {
  local with=$1; shift
  try "$@"
  [ "$code" != 0 ] || fail "it must be refused"
  says "Code: $with"
  printf 'ok %s: %s\n' "$2" "$with"
}

# says TEXT…: the last answer has all of these.
says() { local text; for text; do grep -qF -- "$text" <<<"$said" || fail "no «$text»"; done; }
says_not() { ! grep -qF -- "$1" <<<"$said" || fail "«$1» should not be there"; }

# field NAME: its first value in the last answer.
field() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" <<<"$said" | head -1; }

# is NAME VALUE: that field's first value.
is() { [ "$(field "$1")" = "$2" ] || fail "$1 is «$(field "$1")», not «$2»"; }

# until TEXT ADDRESS METHOD [MESSAGE]: asks again until the answer has it, for a minute at most.
until_says() {
  local text=$1 end=$((SECONDS + 60)); shift
  until call "$@" >/dev/null && grep -qF -- "$text" <<<"$said"; do
    [ $SECONDS -lt $end ] || fail "never «$text»"
    sleep 0.1
  done
  printf 'ok %s: %s\n' "$2" "$text"
}

# order KEY [MORE FIELDS]: submits one, of one piece; its id is in $id.
order() {
  call "$SKALD" $ORDERS/SubmitOrder "$(submission "$@")"
  says '"created": true'
  id=$(field orderId)
}
submission() {
  printf '{"idempotency_key": "%s-%s", "order": {"customer_id": "%s", "currency": "EUR", %s
    "lines": [{"sku": "%s", "quantity": 1, "unit_price_minor": 450}]}}' "$RUN" "$1" "$RUN" "${2:-}" "$RUN"
}

# saga ID: looks at one; its version is in $version.
saga() { call "$SKALD" $SAGAS/Get "{\"saga_id\": \"$1\"}"; version=$(field version); }

# act ID REQUEST_ID ACTION [MORE FIELDS]: what the operator's calls have in common.
act() {
  printf '{"saga_id": "%s", "expected_version": %s, "request_id": "%s-%s", "actor": "ada", "reason": "to see it", %s
    "action": {%s}}' "$1" "$version" "$RUN" "$2" "${4:-}" "$3"
}
signed() { printf '"request_id": "%s-%s", "actor": "ada", "reason": "to see it"' "$RUN" "$1"; }

# ---- what is served --------------------------------------------------------------------------------------------

say "health and reflection"
for address in "$SKALD" "$INVENTORY" "$PAYMENT"; do
  call "$address" $HEALTH/Check
  is status SERVING
done
# It never ends by itself.
SECONDS_AT_MOST=3 refused DeadlineExceeded "$SKALD" $HEALTH/Watch
says '"status": "SERVING"'
call "$SKALD" $HEALTH/Check "{\"service\": \"$ADMIN\"}"
is status SERVING
refused NotFound "$SKALD" $HEALTH/Check '{"service": "nobody"}'

# ---- stock -----------------------------------------------------------------------------------------------------

say "stock"
call "$INVENTORY" $STOCK/Restock "{\"sku\": \"$RUN\", \"delta\": 50, $(signed restock)}"
says '"applied": true'
is available 50
call "$INVENTORY" $STOCK/Restock "{\"sku\": \"$RUN\", \"delta\": 50, $(signed restock)}"
says_not applied
is available 50
call "$INVENTORY" $STOCK/Adjust "{\"sku\": \"$RUN\", \"delta\": -2, $(signed count)}"
is available 48
refused FailedPrecondition "$INVENTORY" $STOCK/Adjust "{\"sku\": \"$RUN\", \"delta\": -49, $(signed miscount)}"
call "$INVENTORY" $STOCK/GetStock "{\"sku\": \"$RUN\"}"
is stocked 48
refused NotFound "$INVENTORY" $STOCK/GetStock '{"sku": "no-such-thing"}'
until_says "$RUN" "$INVENTORY" $STOCK/ListStock '{"page_size": 1000}'

# ---- orders ----------------------------------------------------------------------------------------------------

say "an order, paid at once"
order paid '"payment_token": "tok_ok",'
paid=$id
call "$SKALD" $ORDERS/SubmitOrder "$(submission paid '"payment_token": "tok_ok",')"
is orderId "$paid"
says_not created
refused AlreadyExists "$SKALD" $ORDERS/SubmitOrder "$(submission paid '"payment_token": "tok_other",')"
refused InvalidArgument "$SKALD" $ORDERS/SubmitOrder "$(submission bad '"payment_token": "",')"
says google.rpc.BadRequest order.payment_token
call "$SKALD" $ORDERS/WatchOrder "{\"order_id\": \"$paid\"}"
says ORDER_STATUS_COMPLETED
call "$SKALD" $ORDERS/GetOrder "{\"order_id\": \"$paid\"}"
is status ORDER_STATUS_COMPLETED
is totalMinor 450
refused NotFound "$SKALD" $ORDERS/GetOrder '{"order_id": "00000000-0000-7000-8000-000000000000"}'

say "many at once, one of them bad"
call "$SKALD" $ORDERS/SubmitOrders "{\"client_ref\": \"good\", \"submit\": $(submission one '"payment_token": "tok_ok",')}
  {\"client_ref\": \"bad\", \"submit\": {\"idempotency_key\": \"$RUN-two\", \"order\": {\"customer_id\": \"$RUN\"}}}"
says '"clientRef": "good"' '"created": true' '"clientRef": "bad"' order.lines

say "an order that is paid later and fulfilled by a seller"
order later '"needs_fulfilment": true,'
until_says ORDER_STATUS_RESERVED "$SKALD" $ORDERS/GetOrder "{\"order_id\": \"$id\"}"
call "$SKALD" $ORDERS/PayOrder "{\"order_id\": \"$id\", \"payment_token\": \"tok_ok\", \"request_id\": \"p\"}"
until_says ORDER_STATUS_PAID "$SKALD" $ORDERS/GetOrder "{\"order_id\": \"$id\"}"
call "$SKALD" $ORDERS/FulfilOrder "{\"order_id\": \"$id\", \"seller_id\": \"potter\", \"reference\": \"parcel 1\"}"
call "$SKALD" $ORDERS/WatchOrder "{\"order_id\": \"$id\"}"
says ORDER_STATUS_COMPLETED
refused FailedPrecondition "$SKALD" $ORDERS/CancelOrder "{\"order_id\": \"$id\", \"note\": \"too late\"}"

say "an order that its customer cancels"
order cancelled
call "$SKALD" $ORDERS/CancelOrder "{\"order_id\": \"$id\", \"note\": \"changed my mind\"}"
call "$SKALD" $ORDERS/WatchOrder "{\"order_id\": \"$id\"}"
says ORDER_STATUS_CANCELLED '"reason": "CUSTOMER"'
call "$SKALD" $ORDERS/ListOrders "{\"customer_id\": \"$RUN\", \"status\": \"ORDER_STATUS_CANCELLED\"}"
is orderId "$id"

# ---- sagas of any definition -------------------------------------------------------------------------------------

say "sagas"
input="{\"@type\": \"type.googleapis.com/skald.order.v1.OrderInput\", \"customerId\": \"$RUN\", \"currency\": \"EUR\", \"totalMinor\": 450,
  \"lines\": [{\"sku\": \"$RUN\", \"quantity\": 1, \"unitPriceMinor\": 450}]}"
method='{"@type": "type.googleapis.com/skald.order.v1.PaymentMethod", "token": "tok_ok"}'
# start KEY: without a payment; nobody has to fulfil it.
start() {
  call "$SKALD" $SAGAS/Start "{\"definition\": \"order\", \"idempotency_key\": \"$RUN-$1\", \"customer_id\": \"$RUN\",
    \"input\": $input, \"signals\": [{\"name\": \"fulfil\"}]}"
  id=$(field sagaId)
}
waiting() { until_says STEP_STATUS_AWAITING_SIGNAL "$SKALD" $SAGAS/Get "{\"saga_id\": \"$id\"}"; version=$(field version); }
start saga
waiting
says skald.inventory.v1 skald.order.v1.OrderInput
call "$SKALD" $SAGAS/Signal "{\"saga_id\": \"$id\", \"signal_id\": \"s\", \"signal\": {\"name\": \"pay\", \"payload\": $method}}"
call "$SKALD" $SAGAS/Watch "{\"saga_id\": \"$id\"}"
# It may be over before it is watched.
says SAGA_STATUS_COMPLETED
call "$SKALD" $SAGAS/History "{\"saga_id\": \"$id\"}"
says '"kind": "STARTED"' '"kind": "SIGNAL"' '"actor": "inventory"' '"actor": "payment"'
call "$SKALD" $SAGAS/List "{\"customer_id\": \"$RUN\", \"page_size\": 1}"
is sagaId "$id"
start turned
waiting
call "$SKALD" $SAGAS/Cancel "{\"saga_id\": \"$id\", \"note\": \"no more\"}"
call "$SKALD" $SAGAS/Watch "{\"saga_id\": \"$id\"}"
says SAGA_STATUS_COMPENSATED

# ---- the operator's desk -----------------------------------------------------------------------------------------

say "why does an order wait, and what can be done?"
start repaired
waiting
repaired=$id
call "$SKALD" $ADMIN/Explain "{\"saga_id\": \"$id\"}"
says '"stands": "RUNNING' 'pay waits for its signal' 'pay gives up' '"pause": {' '"compensate": {'
call "$SKALD" $ADMIN/Act "$(act "$id" pause '"pause": {}' '"dry_run": true,')"
is version "$version"
call "$SKALD" $ADMIN/Act "$(act "$id" pause '"pause": {}')"
is status SAGA_STATUS_PAUSED
call "$SKALD" $ADMIN/Act "$(act "$id" pause '"pause": {}')"
says '"repeated": true'
refused AlreadyExists "$SKALD" $ADMIN/Act "$(act "$id" pause '"cancel": {}')"
refused Aborted "$SKALD" $ADMIN/Act "$(act "$id" stale '"compensate": {}')"
says operator:ada
saga "$id"
call "$SKALD" $ADMIN/Act "$(act "$id" resume '"resume": {}')"
is status SAGA_STATUS_RUNNING
saga "$id"
refused FailedPrecondition "$SKALD" $ADMIN/Act "$(act "$id" retry '"retry": {"step": "pay"}')"
refused FailedPrecondition "$SKALD" $ADMIN/Act "$(act "$id" resolve '"resolve": {"step": "pay", "evidence": "none"}')"
call "$SKALD" $ADMIN/Act "$(act "$id" skip "\"skip\": {\"step\": \"pay\", \"evidence\": \"paid in the shop\", \"result\": $method}")"
says '"step": "charge"' '"verb": "RUN"'
call "$SKALD" $SAGAS/Watch "{\"saga_id\": \"$id\"}"
says SAGA_STATUS_COMPLETED '"vouched": true'
call "$SKALD" $SAGAS/History "{\"saga_id\": \"$id\"}"
says '"actor": "operator:ada"' 'to see it'
for verb in compensate cancel; do
  start $verb
  waiting
  call "$SKALD" $ADMIN/Act "$(act "$id" $verb "\"$verb\": {}")"
  says '"action": "release"' '"participant": "inventory"'
  call "$SKALD" $SAGAS/Watch "{\"saga_id\": \"$id\"}"
  says SAGA_STATUS_COMPENSATED
done

say "the inbox"
call "$SKALD" $ADMIN/SummarizeAttention '{"filter": {"kind": "ATTENTION_KIND_VOUCHED", "step": "pay"}}'
says '"kind": "ATTENTION_KIND_VOUCHED"' '"count": '
item="\"saga_id\": \"$repaired\", \"step\": \"pay\", \"kind\": \"ATTENTION_KIND_VOUCHED\""
call "$SKALD" $ADMIN/TakeAttention "{$item, \"request_id\": \"$RUN-take\", \"actor\": \"ada\", \"note\": \"asking the shop\"}"
is takenBy ada
refused FailedPrecondition "$SKALD" $ADMIN/TakeAttention "{$item, \"request_id\": \"$RUN-take-too\", \"actor\": \"bob\"}"
says ada
call "$SKALD" $ADMIN/ListAttention '{"filter": {"kind": "ATTENTION_KIND_VOUCHED", "taken_by": "ada"}, "page_size": 500}'
says "$repaired" 'asking the shop'
call "$SKALD" $ADMIN/ReleaseAttention "{$item, \"request_id\": \"$RUN-leave\", \"actor\": \"ada\", \"note\": \"the shop agrees\"}"
says 'the shop agrees'
says_not takenBy

say "definitions"
call "$SKALD" $ADMIN/ListDefinitions
says '"name": "order"'
call "$SKALD" $ADMIN/FreezeDefinition "{\"definition\": \"order\", $(signed freeze-order)}"
says '"name": "order"' 'to see it'
repair+=('grpcurl -plaintext -d "{\"definition\": \"order\", $(signed thaw-order)}" "$SKALD" $ADMIN/ThawDefinition')
refused FailedPrecondition "$SKALD" $ORDERS/SubmitOrder "$(submission while-frozen)"
says 'to see it'
call "$SKALD" $ADMIN/ThawDefinition "{\"definition\": \"order\", $(signed thaw-order)}"
says_not 'to see it'
call "$SKALD" $ADMIN/MigrateDefinition "{\"definition\": \"order\", \"per_second\": 10, \"dry_run\": true, $(signed migrate)}"
says '"to": '

say "shortened ids"
call "$SKALD" $ADMIN/ResolveId "{\"id\": \"${paid:24}\"}"
says "$paid"

say "many sagas"
call "$SKALD" $ADMIN/ListSagas "{\"definition\": \"order\", \"status\": \"SAGA_STATUS_COMPLETED\", \"customer_id\": \"$RUN\", \"order\": \"SAGA_ORDER_OLDEST_FIRST\"}"
is sagaId "$paid"
call "$SKALD" $ADMIN/GetStats '{"window_seconds": 3600}'
says '"completed": ' '"compensated": ' '"windowSeconds": 3600'
bulk=()
for n in 1 2 3; do start "bulk-$n"; waiting; bulk+=("$id"); done
job() { printf '{"filter": {"customer_id": "%s", "status": "SAGA_STATUS_%s"}, "action": {"%s": {}}, "per_second": %s, %s %s}' \
  "$RUN" "$1" "$2" "$3" "${4:-}" "$(signed "job-$2")"; }
call "$SKALD" $ADMIN/StartBulk "$(job RUNNING pause 100 '"dry_run": true,')"
is count 3
says "${bulk[0]}" "${bulk[1]}" "${bulk[2]}"
says_not BULK_STATE
call "$SKALD" $ADMIN/StartBulk "$(job RUNNING pause 100)"
until_says BULK_STATE_DONE "$SKALD" $ADMIN/GetBulk "{\"request_id\": \"$RUN-job-pause\"}"
is done 3
call "$SKALD" $ADMIN/StartBulk "$(job PAUSED compensate 0.1)"
change() { printf '{"request_id": "%s-job-compensate", "state": "BULK_STATE_%s", "actor": "ada", "reason": "to see it"}' "$RUN" "$1"; }
for state in PAUSED RUNNING ABORTED; do
  call "$SKALD" $ADMIN/ChangeBulk "$(change $state)"
  is state BULK_STATE_$state
done
refused FailedPrecondition "$SKALD" $ADMIN/ChangeBulk "$(change RUNNING)"
call "$SKALD" $ADMIN/ListBulks
is requestId "$RUN-job-compensate"

say "payment is frozen and thawed"
repair=('grpcurl -plaintext -d "{\"participant\": \"payment\", $(signed thaw)}" "$SKALD" $ADMIN/ThawParticipant')
call "$SKALD" $ADMIN/FreezeParticipant "{\"participant\": \"payment\", $(signed freeze)}"
is frozenBy ada
order frozen '"payment_token": "tok_ok",'
until_says '"frozen": true' "$SKALD" $ADMIN/Explain "{\"saga_id\": \"$id\"}"
call "$SKALD" $ADMIN/ListParticipants
says '"name": "inventory"' '"name": "payment"' '"frozenBy": "ada"'
call "$SKALD" $ADMIN/ThawParticipant "{\"participant\": \"payment\", $(signed thaw)}"
says_not frozenBy
repair=()
call "$SKALD" $ORDERS/WatchOrder "{\"order_id\": \"$id\"}"
says ORDER_STATUS_COMPLETED
refused InvalidArgument "$SKALD" $ADMIN/FreezeParticipant "{\"participant\": \"nobody\", $(signed nobody)}"

say "quarantine"
call "$SKALD" $ADMIN/ListAttention '{"filter": {"kind": "ATTENTION_KIND_QUARANTINED"}}'
quarantined=$(field sagaId)
if [ -n "$quarantined" ]; then
  call "$SKALD" $ADMIN/ReleaseQuarantine "{\"saga_id\": \"$quarantined\", $(signed release)}"
  says '"released": true'
  echo "used: a quarantined order goes on"
fi
call "$SKALD" $ADMIN/ReleaseQuarantine "{\"saga_id\": \"$repaired\", $(signed release-none)}"
says_not released

say "dead letters"
call "$SKALD" $ADMIN/ListDeadLetters '{"state": "DEAD_LETTER_STATE_OPEN"}'
letters=$said letter=$(field id)
if [ -n "$letter" ]; then
  call "$SKALD" $ADMIN/GetDeadLetter "{\"id\": $letter}"
  says '"letter": {' '"reason": ' '"payload": '
  call "$SKALD" $ADMIN/RedriveDeadLetters "{\"ids\": [$letter], \"dry_run\": true}"
  is redriven 1
  call "$SKALD" $ADMIN/RedriveDeadLetters "{\"ids\": [$letter], $(signed redrive)}"
  is redriven 1
  call "$SKALD" $ADMIN/ListDeadLetters '{"state": "DEAD_LETTER_STATE_REDRIVEN"}'
  says "$RUN-redrive"
  echo "used: a dead letter was sent again"
  said=$letters letter=$(sed -n 's/^ *"id": "\([0-9]*\)",$/\1/p' <<<"$letters" | sed -n 2p)
fi
if [ -n "$letter" ]; then
  call "$SKALD" $ADMIN/DiscardDeadLetters "{\"ids\": [$letter], $(signed discard)}"
  is discarded 1
  echo "used: a dead letter was discarded"
fi
refused NotFound "$SKALD" $ADMIN/GetDeadLetter '{"id": 9000000000}'
call "$SKALD" $ADMIN/RedriveDeadLetters "{\"filter\": {\"saga_id\": \"$repaired\"}, $(signed redrive-none)}"
says_not redriven
call "$SKALD" $ADMIN/DiscardDeadLetters "{\"filter\": {\"saga_id\": \"$repaired\"}, $(signed discard-none)}"
says_not discarded

# ---- the participants' own desks ---------------------------------------------------------------------------------

say "what participants are and remember"
call "$INVENTORY" $PARTICIPANT/Describe
says '"participant": "inventory"' '"name": "reserve"' '"undo": "release"'
call "$PAYMENT" $PARTICIPANT/Describe
says '"participant": "payment"' '"name": "charge"' '"undo": "refund"'
for pair in "$INVENTORY reserve" "$PAYMENT charge"; do
  read -r address step <<<"$pair"
  # A repeat of what was done gets the first answer and does nothing.
  call "$address" $PARTICIPANT/Execute "{\"commands\": [{\"protocol\": 1, \"sagaId\": \"$paid\", \"step\": \"$step\", \"verb\": \"VERB_RUN\",
    \"epoch\": 1, \"attempt\": 1, \"action\": \"$step\", \"input\": $input}]}"
  says "\"sagaId\": \"$paid\"" '"succeeded": {'
  call "$address" $DESK/GetBarrier "{\"saga_id\": \"$paid\"}"
  says "\"step\": \"$step\"" BARRIER_VERDICT_SUCCEEDED
  refused NotFound "$address" $DESK/GetBarrier '{"saga_id": "00000000-0000-7000-8000-000000000000"}'
  call "$address" $DESK/ListIntents '{"older_than": "3600s"}'
  until_says '"lag": [' "$address" $DESK/GetStatus
done
says '"participant": "payment"' '"breaker": {' '"state": "BREAKER_STATE_' '"intents": {'

say "reservations"
call "$INVENTORY" $STOCK/GetReservation "{\"order_id\": \"$paid\"}"
says RESERVATION_STATE_COMMITTED "\"sku\": \"$RUN\""
call "$INVENTORY" $STOCK/ListReservations "{\"sku\": \"$RUN\", \"state\": \"RESERVATION_STATE_RELEASED\"}"
says RESERVATION_STATE_RELEASED
says_not RESERVATION_STATE_COMMITTED
call "$INVENTORY" $STOCK/Audit
says '"skus": '
says_not discrepancies

say "money"
repair=('grpcurl -plaintext "$PAYMENT" $MONEY/SetGatewayMood')
call "$PAYMENT" $MONEY/SetGatewayMood '{"lost_answers_per_mille": 1000}'
order unheard '"payment_token": "tok_ok",'
until_says "$id" "$PAYMENT" $DESK/ListIntents '{"page_size": 1000}'
call "$PAYMENT" $MONEY/SetGatewayMood
repair=()
call "$SKALD" $ORDERS/WatchOrder "{\"order_id\": \"$id\"}"
says ORDER_STATUS_COMPLETED
call "$PAYMENT" $MONEY/GetCharge "{\"order_id\": \"$id\"}"
is state CHARGE_STATE_CAPTURED
[ "$(grep -c '"step": "charge"' <<<"$said")" = 1 ] || fail "charged more than once"
call "$PAYMENT" $MONEY/ListCharges '{"state": "CHARGE_STATE_CAPTURED", "page_size": 1}'
is orderId "$id"
settlement() { printf '{"saga_id": "%s", "step": "%s", "epoch": %s, "verb": "VERB_RUN", "did_not_happen": {}, %s}' \
  "$1" "$2" "$3" "$(signed settle)"; }
refused FailedPrecondition "$PAYMENT" $MONEY/Settle "$(settlement "$id" charge 1)"
call "$PAYMENT" $MONEY/ListCharges '{"state": "CHARGE_STATE_UNRESOLVED"}'
unresolved=$(field orderId)
if [ -n "$unresolved" ]; then
  call "$PAYMENT" $MONEY/Settle "$(settlement "$unresolved" "$(field step)" "$(field epoch)")"
  says '"applied": true' CHARGE_STATE_DECLINED
  echo "used: a charge of which nobody knew was settled"
fi
call "$PAYMENT" $MONEY/Reconcile "{\"since\": \"$(date -u -d '10 minutes ago' +%FT%TZ)\"}"
says '"movements": ' '"charges": '
says_not differences

# ---- nothing was left out ----------------------------------------------------------------------------------------

say "every call that reflection lists was made"
missing=0
for address in "$SKALD" "$INVENTORY" "$PAYMENT"; do
  for service in $(grpcurl -plaintext "$address" list); do
    # Reflection itself answered every one of the calls above.
    case $service in grpc.reflection.*) continue ;; esac
    for method in $(grpcurl -plaintext "$address" list "$service"); do
      grep -qxF "$service ${method##*.}" "$CALLED" || { echo "not called: $method at $address" >&2; missing=1; }
    done
  done
done
[ $missing = 0 ] || exit 1
echo "$(sort -u "$CALLED" | wc -l) calls of $(cut -d' ' -f1 "$CALLED" | sort -u | wc -l) services, all of them as they should be"
