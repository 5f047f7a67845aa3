import assert from "node:assert/strict";
import { renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { suite, test } from "node:test";
import type { TestContext } from "node:test";
import { pino } from "pino";
import { TestCertificate } from "../../test/support/certificates.ts";
import { until } from "../../test/support/until.ts";
import { type CertificatePair, Certificates } from "./certificates.ts";

/** Certificates with what they logged and told. */
async function started(t: TestContext, { certFile, keyFile }: { readonly certFile: string; readonly keyFile: string }) {
  const lines: { level: number; msg: string; reason?: string }[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]) });
  const certificates = new Certificates(certFile, keyFile, log);
  const told: CertificatePair[] = [];
  const end = certificates.onRenewal((pair) => void told.push(pair));
  t.after(() => certificates.stop());
  await certificates.start();
  return { certificates, lines, told, end };
}

const silent = pino({ level: "silent" });

suite("certificates", { concurrency: true }, () => {
  test("a pair that was replaced is used by itself, and those who asked are told once", async (t) => {
    const files = new TestCertificate(t);
    const { certificates, told, end } = await started(t, files);
    const first = certificates.current;
    assert.ok(first.cert.equals(files.ca));
    assert.ok(Math.abs(certificates.expiresAt - Date.now() - 86_400_000) < 60_000);
    files.renew(7);
    await until("the renewal", () => told.length > 0);
    assert.ok(certificates.current.cert.equals(files.ca) && !first.cert.equals(files.ca));
    assert.ok(certificates.expiresAt - Date.now() > 6 * 86_400_000);
    await certificates.look();
    assert.deepEqual(
      told,
      [certificates.current].map(({ cert, key }) => ({ ...told[0], cert, key })),
    );
    end();
    files.renew();
    await certificates.look();
    assert.equal(told.length, 1, "who does not ask any more is not told");
    assert.ok(certificates.current.cert.equals(files.ca));
  });

  test("a swap of symlinks is a renewal", async (t) => {
    const [before, after] = [new TestCertificate(t), new TestCertificate(t)];
    const links = new TestCertificate(t);
    const point = (to: TestCertificate) => {
      for (const [link, target] of [
        [links.certFile, to.certFile],
        [links.keyFile, to.keyFile],
      ] as const) {
        symlinkSync(target, `${link}.link`);
        renameSync(`${link}.link`, link);
      }
    };
    point(before);
    const { certificates } = await started(t, links);
    assert.ok(certificates.current.cert.equals(before.ca));
    point(after);
    await certificates.look();
    assert.ok(certificates.current.cert.equals(after.ca));
  });

  test("what is no good pair is kept out and logged once, and the one before stays", async (t) => {
    const files = new TestCertificate(t);
    const { certificates, lines, told } = await started(t, files);
    const good = certificates.current;
    const spoil: [RegExp, () => void][] = [
      [/the key in .* is not that of the certificate/, () => files.renewKey()],
      [/expired at/, () => files.renew(-1)],
      [/holds no certificate/, () => writeFileSync(files.certFile, "-----BEGIN CERTIFICATE-----\nAAAA\n")],
      [/ENOENT/, () => rmSync(files.certFile)],
    ];
    for (const [i, [reason, act]] of spoil.entries()) {
      act();
      await certificates.look();
      await certificates.look();
      assert.equal(certificates.current, good);
      const complaints = lines.filter(({ level }) => level >= 50);
      assert.equal(complaints.length, i + 1);
      assert.match(complaints[i]?.reason ?? "", reason);
    }
    assert.equal(told.length, 0);
    assert.ok(!lines.some((line) => JSON.stringify(line).includes("PRIVATE")));
    files.renew();
    await certificates.look();
    assert.ok(certificates.current.cert.equals(files.ca));
  });

  test("without a good pair it does not start", async (t) => {
    const spoil: [RegExp, (files: TestCertificate) => void][] = [
      [/is not that of/, (files) => files.renewKey()],
      [/expired/, (files) => files.renew(-1)],
      [/holds no key/, (files) => writeFileSync(files.keyFile, "")],
      [/ENOENT/, (files) => rmSync(files.keyFile)],
    ];
    for (const [reason, act] of spoil) {
      const files = new TestCertificate(t);
      act(files);
      await assert.rejects(new Certificates(files.certFile, files.keyFile, silent).start(), reason);
    }
  });
});
