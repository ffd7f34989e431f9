/** Bodies that are read as a whole: pages and events. */
import { type Answer, type Means, type Resource, transfer } from "./transfer.ts";

/** The body of `resource`, empty for 304. `maxUnpacked` bounds what is held. */
export async function collected(
  resource: Resource,
  means: Means,
): Promise<{ readonly answer: Answer; readonly body: Buffer }> {
  let chunks: Uint8Array[] = [];
  const answer = await transfer(
    resource,
    () => {
      chunks = [];
      return (chunk) => {
        chunks.push(chunk);
      };
    },
    means,
  );
  return { answer, body: Buffer.concat(chunks) };
}
