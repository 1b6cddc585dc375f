// In place of a shop platform: a form that would fill the cart shows the order that the platform would send.

for (const form of document.querySelectorAll("form[action$='/cart/add']")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    const [id, line] = crypto.getRandomValues(new Uint32Array(2));
    const properties = [{ name: "_psicash", value: fields.get("properties[_psicash]") }];
    const order = { id, test: true, currency: "EUR", line_items: [{ id: line, sku: fields.get("sku"), quantity: 1, price: fields.get("price"), properties }] };
    document.getElementById("json").textContent = JSON.stringify(order, null, 2);
    const section = document.getElementById("order");
    section.hidden = false;
    section.scrollIntoView({ block: "nearest" });
    section.focus({ preventScroll: true });
  });
}
