/** What there is to choose from: methods, networks, and the schemas of what can be posted. */

import { get } from "./api.js";
import { Schema } from "./schema.js";

let known;

/** { methods, networks, schema(name) }; asked for once. */
export function catalogue() {
  known ??= load().catch((error) => {
    known = undefined;
    throw error;
  });
  return known;
}

async function load() {
  const [methods, networks, document] = await Promise.all(["methods", "networks", "openapi.json"].map((path) => get(path)));
  return {
    methods: methods.data,
    networks: networks.data,
    /** Of the body of an operation, such as post /jobs. */
    body: (path) => {
      const { schema } = document.paths[path].post.requestBody.content["application/json"];
      return new Schema(schema, document);
    },
  };
}

/** A union as the form knows it, out of entries of the catalogue that each have a schema of their own. */
export function union(entries, by, fallback) {
  const members = entries.map((one) => [one[by], new Schema(one.schema, one.schema)]);
  return {
    node: { default: fallback },
    discriminator: by,
    fallback,
    members,
    member: (name) => members.find(([one]) => one === name)?.[1],
    kind: "union",
    nullable: false,
  };
}

/** The fields of a network that follow from the data it is for. */
export function fitting(schema, { feature_shape: shape, classes }) {
  const found = {};
  if (classes && schema.node.properties.classes) found.classes = classes;
  const inputs = schema.node.properties.inputs;
  if (!shape?.length || !inputs) return found;
  if (inputs.type === "integer") found.inputs = shape.reduce((product, one) => product * one, 1);
  else if (shape.length === 2) found.inputs = [1, ...shape];
  else if (shape.length === 3) found.inputs = [shape[2], shape[0], shape[1]];
  return found;
}
