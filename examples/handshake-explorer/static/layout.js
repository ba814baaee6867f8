// A frame as a row of its bytes, bit by bit, and as a table of its fields.

// `layout` is the list of fields that the server sends: { name, bits, says }. With `folded`, the table waits
// behind one line that says what matters.
export function frameView(layout, { folded = false } = {}) {
  const view = make("div", "layout");
  view.append(bytes(layout));
  if (!folded) {
    view.append(fields(layout));
    return view;
  }
  const details = make("details", "");
  const said = (name) => layout.findLast((field) => field.name.endsWith(name))?.says;
  const parts = [said("opcode"), said("length"), said("payload")];
  details.append(make("summary", "", parts.filter(Boolean).join(" · ")), fields(layout));
  view.prepend(details);
  return view;
}

const classOf = (name) => `field-${name.replace(" ", "-").toLowerCase()}`;

function bytes(layout) {
  const row = make("div", "bytes");
  row.setAttribute("aria-hidden", "true"); // the table says the same
  let byte = null;
  let bits = "";
  for (const field of layout) {
    for (const bit of field.bits) {
      if (bits === "") row.append((byte = make("span", "byte")));
      byte.append(make("i", `bit ${classOf(field.name)}`, bit));
      bits += bit;
      if (bits.length < 8) continue;
      byte.append(make("b", "hex", Number.parseInt(bits, 2).toString(16).padStart(2, "0")));
      bits = "";
    }
  }
  return row;
}

function fields(layout) {
  const table = make("table", "fields");
  for (const { name, bits, says } of layout) {
    const row = table.insertRow();
    const heading = make("th", "", name);
    heading.scope = "row";
    heading.prepend(make("span", `swatch ${classOf(name)}`));
    row.append(heading, make("td", "code size", bits.length > 8 ? "" : bits), make("td", "", says));
  }
  return table;
}

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
