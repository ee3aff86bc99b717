/** What there is to choose from: methods, networks, and the schemas of what can be posted. */

import { get } from "./api.js";
import { same, Schema } from "./schema.js";

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
  const taken = intake(shape, inputs.type === "integer");
  if (taken) found.inputs = taken;
  return found;
}

/** Whether a network can be given the examples of a data set, and answers with its classes. */
export const fits = (network, { feature_shape: shape, classes }) =>
  Boolean(shape?.length) && (classes === null || classes === network.classes)
    && same(network.inputs, intake(shape, typeof network.inputs === "number"));

/** An example as a network takes it: so many numbers, or channels before height and width; null where it is no picture. */
function intake(shape, flat) {
  if (flat) return shape.reduce((product, one) => product * one, 1);
  const [height, width, channels = 1] = shape;
  return shape.length === 2 || shape.length === 3 ? [channels, height, width] : null;
}
