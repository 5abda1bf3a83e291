// Concepts that are absent: they win no token, as the reports below nodes say.

/**
 * @param {Float32Array[]} frames  heatmaps [C, ...] of every latent frame
 * @param {number} concepts
 * @returns {boolean[]} one per concept
 */
export function absentConcepts(frames, concepts) {
  const absent = new Array(concepts).fill(true);
  for (const maps of frames) {
    const tokens = maps.length / concepts;
    for (let token = 0; token < tokens; token++) {
      let [winner, best, tie] = [0, -Infinity, false];
      for (let concept = 0; concept < concepts; concept++) {
        const value = maps[concept * tokens + token];
        if (value > best) [winner, best, tie] = [concept, value, false];
        else if (value === best) tie = true;
      }
      if (!tie) absent[winner] = false;
    }
  }
  return absent;
}
