import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder with `tls.crt` and `tls.key` in it, as Kubernetes names them; self-signed, so the certificate is its own CA. */
export class TestCertificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly #folder: string;

  /** For `localhost` and 127.0.0.1, good for a day. The folder goes with the test. */
  constructor(t: { after(end: () => void): void }) {
    this.#folder = mkdtempSync(join(tmpdir(), "penstock-test-tls-"));
    t.after(() => rmSync(this.#folder, { recursive: true }));
    this.certFile = join(this.#folder, "tls.crt");
    this.keyFile = join(this.#folder, "tls.key");
    this.renew();
  }

  /** PEM, as clients take it. */
  get ca(): Buffer {
    return readFileSync(this.certFile);
  }

  /** As a server takes it. */
  get current(): { readonly cert: Buffer; readonly key: Buffer } {
    return { cert: this.ca, key: readFileSync(this.keyFile) };
  }

  /** Another key and certificate in the place of the present ones; with `days` below 0 one that has expired. */
  renew(days = 1): void {
    this.renewKey();
    const request = join(this.#folder, "request");
    openssl(
      ...["req", "-new", "-key", this.keyFile, "-out", request, "-subj", "/CN=penstock test"],
      ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
    );
    const options = ["-in", request, "-signkey", this.keyFile, "-copy_extensions", "copyall", "-days", String(days)];
    put(this.certFile, (file) => openssl("x509", "-req", ...options, "-out", file));
  }

  /** A key that is not the certificate's. */
  renewKey(): void {
    const options = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    put(this.keyFile, (file) => openssl("genpkey", ...options, "-out", file));
  }
}

/** Replaced by rename, as renewals do it. */
function put(file: string, make: (file: string) => void): void {
  make(`${file}.new`);
  renameSync(`${file}.new`, file);
}

function openssl(...args: readonly string[]): void {
  execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
}
