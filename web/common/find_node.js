// Finding the node that an output belongs to.

/**
 * @param {import("../../scripts/app.js").Graph} root
 * @param {string} id  "node", or "subgraph:node" inside a subgraph
 * @returns {import("../../scripts/app.js").Node | null | undefined}
 */
export function findNode(root, id) {
  const [node, subgraph] = id.split(":").reverse();
  return (subgraph ? root.subgraphs?.get(subgraph) : root)?.getNodeById(node);
}
