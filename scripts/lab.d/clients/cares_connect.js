// Resolve with c-ares (dns.resolve4), then connect: cares_connect.js HOST PORT
const dns = require('node:dns');
const net = require('node:net');

const [host, port] = process.argv.slice(2);
dns.resolve4(host, (error, addresses) => {
  if (error) {
    console.error(String(error));
    process.exit(1);
  }
  const conn = net.connect({ host: addresses[0], port: Number(port) }, () => {
    console.log('connected to', conn.remoteAddress);
    conn.end();
  });
  conn.on('data', () => {});
});
