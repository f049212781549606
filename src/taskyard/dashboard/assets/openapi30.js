// Shows an OpenAPI 3.1 description to a viewer that knows 3.0 only. The difference that matters
// here is how "or null" and constants are written; everything else reads the same in both.

/**
 * A copy of the description in the words of OpenAPI 3.0.
 * @param {any} node any part of the description
 * @returns {any}
 */
export function toOpenapi30(node) {
  const copy = convert(node);
  if (typeof copy.openapi === "string" && copy.openapi.startsWith("3.1")) copy.openapi = "3.0.3";
  return copy;
}

/** @param {any} node @returns {any} */
function convert(node) {
  if (Array.isArray(node)) return node.map(convert);
  if (node === null || typeof node !== "object") return node;
  /** @type {Record<string, any>} */
  const copy = {};
  for (const [key, value] of Object.entries(node)) copy[key] = convert(value);
  if (Array.isArray(copy.type)) {
    const kinds = copy.type.filter((/** @type {string} */ kind) => kind !== "null");
    if (kinds.length < copy.type.length) copy.nullable = true;
    if (kinds.length <= 1) copy.type = kinds[0];
    else {
      delete copy.type;
      copy.anyOf = kinds.map((/** @type {string} */ type) => ({ type }));
    }
  }
  for (const choice of ["oneOf", "anyOf"]) {
    if (!Array.isArray(copy[choice])) continue;
    const kept = copy[choice].filter((/** @type {any} */ one) => one.type !== "null");
    if (kept.length < copy[choice].length) copy.nullable = true;
    copy[choice] = kept;
  }
  if ("const" in copy && !("enum" in copy)) copy.enum = [copy.const];
  delete copy.const;
  for (const [limit, flag] of [["exclusiveMinimum", "minimum"], ["exclusiveMaximum", "maximum"]]) {
    if (typeof copy[limit] === "number") {
      copy[flag] = copy[limit];
      copy[limit] = true;
    }
  }
  return copy;
}
