// No-op jobs through BullMQ: `bullmq.mjs queue|work REDIS_URL JOBS`.
import { readFileSync } from 'node:fs';
import { Queue, Worker } from 'bullmq';

const [phase, url, count] = process.argv.slice(2);
const jobs = Number(count);
const connection = { url };
const { version } = JSON.parse(readFileSync(new URL('node_modules/bullmq/package.json', import.meta.url)));

// Of 1, 10, 50, 100 and 500 the fastest. Finished jobs are kept, as by default.
const settings = { concurrency: 50 };

if (phase === 'queue') {
  const queue = new Queue('noop', { connection });
  for (let queued = 0; queued < jobs; queued += 1000) {
    await queue.addBulk(Array.from({ length: 1000 }, () => ({ name: 'noop', data: {} })));
  }
  await queue.close();
  process.exit(0);
}

const worker = new Worker('noop', async () => {}, { connection, autorun: false, ...settings });
worker.on('error', (error) => console.error(error));
await worker.waitUntilReady();
let finished = 0;
let began;
worker.on('completed', () => {
  finished += 1;
  if (finished < jobs) return;
  const seconds = (performance.now() - began) / 1000;
  console.log(JSON.stringify({ peer: 'bullmq', version, jobs, seconds, jobs_per_second: jobs / seconds, settings }));
  process.exit(0);
});
began = performance.now();
await worker.run();
