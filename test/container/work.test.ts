import t from "tap";
import { Work } from "../../src/container/work.ts";

/** Jobs that end when told to. */
function manual(limit: number) {
  const started: string[] = [];
  const ends = new Map<string, () => void>();
  const work = new Work(limit, (key) => {
    started.push(key);
    return new Promise((resolve) => ends.set(key, resolve));
  });
  const end = async (key: string): Promise<void> => {
    ends.get(key)?.();
    await new Promise(setImmediate);
  };
  return { work, started, end };
}

t.test("the first starts at once, the bound holds, urgent ones pass it", async (t) => {
  const { work, started, end } = manual(2);
  for (const key of ["a", "b", "c", "d"]) void work.ask(key);
  t.same(started, ["a", "b"]);
  void work.ask("e", true);
  t.same(started, ["a", "b", "e"]);
  void work.ask("d", true);
  t.same(started, ["a", "b", "e", "d"], "one that waits becomes urgent");
  await end("a");
  t.same(started, ["a", "b", "e", "d"], "three run still");
  await end("b");
  await end("e");
  t.same(started, ["a", "b", "e", "d", "c"]);
});

t.test("a key asked for while it runs is run once more, and done is told after that", async (t) => {
  const { work, started, end } = manual(2);
  let done = false;
  void work.ask("a");
  void work.ask("a");
  void work.ask("a").then(() => {
    done = true;
  });
  await end("a");
  t.same(started, ["a", "a"]);
  t.notOk(done);
  await end("a");
  t.ok(done);
  t.same(started, ["a", "a"]);
});

t.test("idle and forget", async (t) => {
  const { work, started, end } = manual(1);
  void work.ask("a");
  void work.ask("b");
  void work.ask("a");
  work.forget("b");
  work.forget("a");
  let idle = false;
  void work.idle().then(() => {
    idle = true;
  });
  await new Promise(setImmediate);
  t.notOk(idle);
  await end("a");
  t.ok(idle);
  t.same(started, ["a"]);
});
