// Reads job documents back with the real Pulse library and prints what it makes of them.
import { Pulse } from '@pulsecron/pulse';

const [address] = process.argv.slice(2);
const pulse = new Pulse({ db: { address, collection: 'pulseJobs' }, resumeOnRestart: false });
await new Promise((ready) => pulse.once('ready', ready));
const jobs = await pulse.jobs({});
console.log(JSON.stringify(jobs.map((job) => ({
  name: job.attrs.name,
  data: job.attrs.data,
  type: job.attrs.type,
  running: job.isRunning(),
  disabled: job.attrs.disabled ?? false,
  runCount: job.attrs.runCount,
  finishedCount: job.attrs.finishedCount,
  failCount: job.attrs.failCount,
  failReason: job.attrs.failReason,
  failed: job.attrs.failedAt !== undefined,
  result: job.attrs.result,
  lastRunAt: job.attrs.lastRunAt,
  lastFinishedAt: job.attrs.lastFinishedAt,
  nextRunAt: job.attrs.nextRunAt,
}))));
await pulse.close();
process.exit(0);
