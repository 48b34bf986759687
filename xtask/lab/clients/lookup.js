// Resolves each name on the command line by Node: `resolve` by its bundled c-ares, `lookup` by libc's getaddrinfo.
//
//     node lookup.js resolve|lookup [-n TIMES] [-i MILLISECONDS] NAME...
//
// `resolve` asks for A and AAAA at once, as programs do that want both. Prints one line per lookup and exits as
// getaddrinfo.c does.
'use strict';
const dns = require('dns').promises;

function usage() {
  console.error('usage: node lookup.js resolve|lookup [-n TIMES] [-i MILLISECONDS] NAME...');
  process.exit(2);
}

function parse([how, ...words]) {
  const plan = { how, times: 1, interval: 0, names: [] };
  while (words.length > 0) {
    const word = words.shift();
    if (word === '-n') plan.times = Number(words.shift());
    else if (word === '-i') plan.interval = Number(words.shift());
    else plan.names.push(word);
  }
  const isWhole = Number.isInteger(plan.times) && Number.isInteger(plan.interval);
  if (!['resolve', 'lookup'].includes(how) || !isWhole || plan.times < 1 || plan.names.length === 0) usage();
  return plan;
}

async function addresses(how, name) {
  if (how === 'lookup') return (await dns.lookup(name, { all: true })).map((found) => found.address);
  const results = await Promise.allSettled([dns.resolve4(name), dns.resolve6(name)]);
  const found = results.flatMap((result) => result.value ?? []);
  if (found.length === 0) throw results[0].reason;
  return found;
}

async function resolve(how, name) {
  const start = process.hrtime.bigint();
  const took = () => (Number(process.hrtime.bigint() - start) / 1e6).toFixed(1);
  try {
    const found = await addresses(how, name);
    console.log(`${name}  ${took()} ms  ${found.join(' ')}`);
    return true;
  } catch (error) {
    console.log(`${name}  ${took()} ms  ${error.code}`);
    return false;
  }
}

async function main() {
  const plan = parse(process.argv.slice(2));
  for (let round = 0; round < plan.times; round += 1) {
    if (round > 0) await new Promise((done) => setTimeout(done, plan.interval));
    for (const name of plan.names) {
      if (!(await resolve(plan.how, name))) process.exitCode = 1;
    }
  }
}

main();
