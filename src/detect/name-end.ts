/** The end of a whole folded name in wire form. */

/** Offset of the root label of the name that has a label at `at`. */
export function rootAt(bytes: Uint8Array, at: number): number {
  let root = at;
  while (bytes[root] !== 0) root += bytes[root]! + 1;
  return root;
}

/** Whether the label before the root label at `root` is `arpa`. */
export function endsInArpa(bytes: Uint8Array, root: number): boolean {
  return (
    bytes[root - 5] === 4 &&
    bytes[root - 4] === 97 &&
    bytes[root - 3] === 114 &&
    bytes[root - 2] === 112 &&
    bytes[root - 1] === 97
  );
}
