// Builds elements. Text goes in as text nodes only; markup is never parsed.

/** @typedef {Node | string | number | null | undefined | boolean | "" | any[]} Child children in lists count one by one */

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "open", "required", "indeterminate"]);

/**
 * An element with attributes, listeners (`onclick: fn`) and children. Null and false are left out.
 * @param {string} tag
 * @param {Record<string, any> | null} [props] `class`, `data: {…}`, `on…` listeners, attributes
 * @param {...Child} children
 * @returns {any} the element; untyped, since callers know what they asked for
 */
export function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) /** @type {any} */ (node)[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

/**
 * Append children, flattened.
 * @param {Node} node
 * @param {Child[]} children
 */
export function add(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || typeof child === "boolean") continue;
    if (Array.isArray(child)) add(node, child);
    else node.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/**
 * Replace what an element holds.
 * @param {Element} node
 * @param {...Child} children
 */
export function fill(node, ...children) {
  const fragment = document.createDocumentFragment();
  add(fragment, children);
  node.replaceChildren(fragment);
}

/**
 * Set an element's text only when it differs, so that a selection in it survives.
 * @param {Element} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
