import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { Logger } from "pino";
import { messageOf } from "../runtime/errors.ts";
import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";

/** A certificate, its chain behind it, and its key; PEM. */
export interface CertificatePair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** The oldest version of TLS that the doors speak. */
export const TLS_MIN_VERSION = "TLSv1.2";

/** Two small files each time. Watching them would miss the swap of a symlink, which is how Kubernetes renews them. */
const INTERVAL_MS = 2_000;

/**
 * The certificate of the doors, as its files hold it: they may be replaced at any time.
 *
 * Always true: once started, `current` is the newest pair that was good when it was read: key and certificate belong
 * together and its time had come and had not passed. One that is not good is logged once, and the one before stays.
 */
export class Certificates implements Service {
  readonly name = "certificates";
  readonly #certFile: string;
  readonly #keyFile: string;
  readonly #log: Logger;
  readonly #looks: Periodic;
  readonly #listeners = new Set<(pair: CertificatePair) => void>();
  #current: (CertificatePair & { readonly expiresAt: number }) | undefined;
  /** Why what stands in the files is not used, as it was logged. */
  #refusal: string | undefined;

  constructor(certFile: string, keyFile: string, log: Logger) {
    this.#certFile = certFile;
    this.#keyFile = keyFile;
    this.#log = log;
    this.#looks = new Periodic(
      INTERVAL_MS,
      () => this.look(),
      (error) => log.error({ err: error }, "looking for a renewed certificate failed"),
    );
  }

  /** The pair in use. @throws where it has not started. */
  get current(): CertificatePair {
    return this.#started;
  }

  /** When the certificate in use ends, in milliseconds since 1970. */
  get expiresAt(): number {
    return this.#started.expiresAt;
  }

  /** Called with each new pair; gives a function that ends it. */
  onRenewal(listener: (pair: CertificatePair) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Rejects where the files cannot be read, are no pair, or the certificate is not valid now. */
  async start(): Promise<void> {
    this.#current = await this.#read();
    this.#log.info(this.#described(this.#current), "certificate");
    this.#looks.start();
  }

  async stop(): Promise<void> {
    await this.#looks.stop();
  }

  /** Reads the files, and takes what is new and good in them. */
  async look(): Promise<void> {
    const present = this.#started;
    let read;
    try {
      read = await this.#read();
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== this.#refusal) {
        this.#log.error({ ...this.#described(present), reason }, "THE RENEWED CERTIFICATE IS NOT USED");
      }
      this.#refusal = reason;
      return;
    }
    this.#refusal = undefined;
    if (read.cert.equals(present.cert) && read.key.equals(present.key)) return;
    this.#current = read;
    this.#log.info(this.#described(read), "certificate renewed");
    for (const listener of this.#listeners) listener(read);
  }

  get #started() {
    if (this.#current === undefined) throw new Error("the certificate was not read yet");
    return this.#current;
  }

  /** Throws where what is read is not good now. Messages hold nothing of the key. */
  async #read(): Promise<CertificatePair & { readonly expiresAt: number }> {
    const [cert, key] = await Promise.all([readFile(this.#certFile), readFile(this.#keyFile)]);
    const certificate = attempt(`${this.#certFile} holds no certificate`, () => new X509Certificate(cert));
    const privateKey = attempt(`${this.#keyFile} holds no key`, () => createPrivateKey(key));
    if (!certificate.checkPrivateKey(privateKey)) {
      throw new Error(`the key in ${this.#keyFile} is not that of the certificate in ${this.#certFile}`);
    }
    if (certificate.validToDate.getTime() <= Date.now()) {
      throw new Error(`the certificate in ${this.#certFile} expired at ${certificate.validTo}`);
    }
    if (certificate.validFromDate.getTime() > Date.now()) {
      throw new Error(`the certificate in ${this.#certFile} is not valid before ${certificate.validFrom}`);
    }
    // What else OpenSSL has against it: a key that is too short, a chain that is none.
    attempt(`TLS does not take the certificate in ${this.#certFile}`, () => createSecureContext({ cert, key }));
    return { cert, key, expiresAt: certificate.validToDate.getTime() };
  }

  #described({ expiresAt }: { readonly expiresAt: number }) {
    return { certFile: this.#certFile, expires: new Date(expiresAt).toISOString() };
  }
}

function attempt<T>(failure: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new Error(failure, { cause: error });
  }
}
