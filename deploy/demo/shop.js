// In place of a shop platform: what would fill the cart makes an order. Whoever serves this page tells the service, if it knows a shop's secret.

const element = (id) => document.getElementById(id);
const number = () => crypto.getRandomValues(new Uint32Array(1))[0];
let order;

/** Whether the service has taken it. Undefined if nobody here can sign. */
async function tell(topic, body) {
  const response = await fetch(`webhooks/${topic}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  return response.status === 404 ? undefined : response.ok;
}

function show(words, body, canRefund) {
  element("order-title").textContent = words;
  element("json").textContent = JSON.stringify(body, null, 2);
  element("refund").hidden = !canRefund;
  element("order").hidden = false;
  element("order").scrollIntoView({ block: "nearest" });
  element("order").focus({ preventScroll: true });
}

for (const form of document.querySelectorAll("form[action$='/cart/add']")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    const properties = [{ name: "_psicash", value: fields.get("properties[_psicash]") }];
    const line = { id: number(), sku: fields.get("sku"), quantity: 1, price: fields.get("price"), properties };
    order = { id: number(), test: true, currency: "EUR", line_items: [line] };
    const isTaken = await tell("orders/paid", order);
    if (isTaken === undefined) show("The order that the service would be told of", order, false);
    else if (isTaken) show("Paid. The service has been told of this order", order, true);
    else show("The service did not take this order", order, false);
  });
}

element("refund").addEventListener("click", async () => {
  const refund_line_items = order.line_items.map(({ id, quantity }) => ({ id: number(), line_item_id: id, quantity }));
  const refund = { id: number(), order_id: order.id, refund_line_items };
  const isTaken = await tell("refunds/create", refund);
  show(isTaken ? "Refunded. The service has been told of this refund" : "The service did not take this refund", refund, !isTaken);
});
