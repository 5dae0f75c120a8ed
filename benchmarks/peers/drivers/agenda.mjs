// No-op jobs through Agenda: `agenda.mjs queue|work MONGODB_URL JOBS`.
import { readFileSync } from 'node:fs';
import { MongoBackend } from '@agendajs/mongo-backend';
import { Agenda } from 'agenda';

const [phase, address, count] = process.argv.slice(2);
const jobs = Number(count);
const { version } = JSON.parse(readFileSync(new URL('node_modules/agenda/package.json', import.meta.url)));

// The defaults lock the whole backlog before the first run. Never more locks than runs, and a look for
// more every 20 ms, was the fastest of the combinations tried.
const settings = { maxConcurrency: 50, defaultConcurrency: 50, defaultLockLimit: 50, processEvery: 20 };

const agenda = new Agenda({ backend: new MongoBackend({ address }), ...settings });
agenda.on('error', (error) => console.error(error));
await agenda.ready;
agenda.define('noop', async () => {});

if (phase === 'queue') {
  for (let queued = 0; queued < jobs; queued += 100) {
    await Promise.all(Array.from({ length: 100 }, () => agenda.now('noop', {})));
  }
  process.exit(0);
}

let finished = 0;
let began;
agenda.on('success', () => {
  finished += 1;
  if (finished < jobs) return;
  const seconds = (performance.now() - began) / 1000;
  console.log(JSON.stringify({ peer: 'agenda', version, jobs, seconds, jobs_per_second: jobs / seconds, settings }));
  process.exit(0);
});
began = performance.now();
await agenda.start();
