/** JSON Schema, as the API's own models give it, read for forms. */

/** A schema with its root, so that references can be followed: /methods and OpenAPI keep their own. */
export class Schema {
  constructor(node, root) {
    this.root = root;
    this.node = node;
    while (this.node.$ref) {
      const target = this.node.$ref.slice(2).split("/").reduce((at, step) => at[step], root);
      const { $ref: _, ...beside } = this.node;
      this.node = { ...target, ...beside };
    }
  }

  of(node) {
    return new Schema(node, this.root);
  }

  /** What null, if anything, may stand beside. */
  get options() {
    return (this.node.oneOf ?? this.node.anyOf ?? []).map((one) => this.of(one)).filter((one) => one.node.type !== "null");
  }

  get nullable() {
    return (this.node.anyOf ?? []).some((one) => one.type === "null");
  }

  get properties() {
    return Object.entries(this.node.properties ?? {}).map(([name, node]) => [name, this.of(node)]);
  }

  get fallback() {
    return this.node.default;
  }

  /** The property by which the members of a union are told apart, where all have one. */
  get discriminator() {
    if (this.node.discriminator) return this.node.discriminator.propertyName;
    const options = this.options;
    if (options.length < 2) return null;
    return Object.keys(options[0].node.properties ?? {}).find((name) =>
      options.every((one) => one.node.properties?.[name]?.const !== undefined)) ?? null;
  }

  get members() {
    const by = this.discriminator;
    return this.options.map((one) => [one.node.properties[by].const, one]);
  }

  member(name) {
    return this.members.find(([one]) => one === name)?.[1];
  }

  /** What a form shows it as. */
  get kind() {
    const { node } = this;
    if (node.const !== undefined) return "const";
    if (node.enum) return "enum";
    if (this.discriminator) return "union";
    const options = this.options;
    if (options.length === 1) return options[0].kind;
    if (options.length > 1) return options.every((one) => one.isText) ? "texts" : "variants";
    if (node.type === "array") {
      if (node.prefixItems || !node.items) return "list";
      const { kind } = this.of(node.items);
      return ["integer", "number", "string", "enum"].includes(kind) ? "list" : "items";
    }
    if (node.type === "object") return node.properties ? "object" : "pairs";
    return node.type ?? "string";
  }

  get isText() {
    return this.node.type === "string" && !this.node.enum ? true
      : this.node.type === "array" && this.node.items?.type === "string";
  }

  /** Itself, or the one thing that it is when it is not null. */
  get solid() {
    const options = this.options;
    return !this.discriminator && options.length === 1
      ? new Schema({ ...options[0].node, ...("default" in this.node ? { default: this.node.default } : {}) }, this.root)
      : this;
  }

  /** Whether it names an uploaded file. */
  get isFile() {
    return this.kind === "string" && (this.solid.node.pattern ?? "").startsWith("^file_");
  }

  /** Whether it is a list of numbers, whose text is read as such. */
  get isNumeric() {
    const node = this.solid.node;
    const items = node.prefixItems?.[0] ?? node.items ?? {};
    return ["integer", "number"].includes(this.of(items).node.type);
  }
}

export const same = (one, other) => JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

/** A value without what its schema would give anyway: what somebody asked for, as short as it goes. */
export function pruned(schema, value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const by = schema.discriminator;
  const shape = by ? schema.member(value[by]) : schema.solid.options.find((one) => one.kind === "object") ?? schema.solid;
  if (!shape?.node.properties) return value;
  const kept = {};
  for (const [name, one] of shape.properties) {
    if (!(name in value) || (name !== by && isDefault(one, value[name]))) continue;
    const inner = pruned(one, value[name]);
    const nothing = inner && typeof inner === "object" && !Array.isArray(inner) && !Object.keys(inner).length;
    if (!nothing || shape.node.required?.includes(name)) kept[name] = inner;
  }
  return kept;
}

function isDefault(schema, value) {
  if (value === null) return schema.fallback === undefined || schema.fallback === null;
  if (Array.isArray(value) && !value.length && schema.fallback === undefined) return true;
  return schema.fallback !== undefined && same(schema.fallback, value);
}

/** "warmup_epochs" for people. */
export const words = (name) => name.replaceAll("_", " ");
