import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";

/**
 * 16 MiB and about 50 ms of one core (measured on this project's 2-core machine). Generated secrets have 256 bits and
 * would need no slow hash; the cost is for those that a person chose.
 */
const cost = { N: 2 ** 14, r: 8, p: 1 };
/** As many as half of libuv's four threads: file and DNS work goes on beside them. */
const maxRunning = 2;
/** At 25 ms each the last one waits for less than two seconds. */
const maxWaiting = 64;
const hashBytes = 32;
const saltBytes = 16;

/** The stored form: the cost travels with the hash, so that another cost later leaves old secrets good. */
const storedForm = /^scrypt\$(\d{1,7})\$(\d{1,2})\$(\d{1,2})\$([\w-]{22})\$([\w-]{43})$/;

/** Too many secrets are being checked already. Nothing was done: the caller may come again. */
export class SecretsBusyError extends Error {
  override readonly name = "SecretsBusyError";

  constructor() {
    super("too many secrets are being checked, try again in a second");
  }
}

/** A new secret of 256 bits, with the id of its key in front: 56 characters that need no escaping anywhere. */
export function generateSecret(): { readonly keyId: string; readonly secret: string } {
  const keyId = randomBytes(6).toString("hex");
  return { keyId, secret: `${keyId}.${randomBytes(32).toString("base64url")}` };
}

/** The id of the key that a secret names; undefined for one of another form, as a person or an older version made it. */
export function keyIdOf(secret: string): string | undefined {
  return /^([0-9a-f]{12})\.[\w-]{43}$/.exec(secret)?.[1];
}

/**
 * Hashes and checks secrets of accounts.
 *
 * Always true: at most `maxRunning` hashes run and at most `maxWaiting` wait for their turn; a check costs one hash,
 * whether the account exists or not.
 */
export class Secrets {
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /** The form in which a secret is stored. @throws SecretsBusyError */
  async hash(secret: string): Promise<string> {
    const salt = randomBytes(saltBytes);
    const hash = await this.#derive(secret, salt, cost);
    return `scrypt$${cost.N}$${cost.r}$${cost.p}$${salt.toString("base64url")}$${hash.toString("base64url")}`;
  }

  /**
   * Whether the secret is the stored one. `stored` is undefined where there is no such account: false then, after the
   * same work. @throws SecretsBusyError; Error where what is stored is no hash of a secret.
   */
  async check(secret: string, stored: string | undefined): Promise<boolean> {
    if (stored === undefined) {
      await this.#derive(secret, randomBytes(saltBytes), cost);
      return false;
    }
    const [, N, r, p, salt, hash] = storedForm.exec(stored) ?? [];
    if (salt === undefined || hash === undefined) throw new Error("a stored secret is not in the known form");
    const derived = await this.#derive(secret, Buffer.from(salt, "base64url"), {
      N: Number(N),
      r: Number(r),
      p: Number(p),
    });
    return timingSafeEqual(derived, Buffer.from(hash, "base64url"));
  }

  async #derive(secret: string, salt: Buffer, { N, r, p }: typeof cost): Promise<Buffer> {
    if (this.#running < maxRunning) this.#running++;
    else await this.#turn();
    try {
      const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
      const options = { N, r, p, maxmem: 129 * N * r };
      scrypt(secret, salt, hashBytes, options, (error, key) => (error ? reject(error) : resolve(key)));
      return await promise;
    } finally {
      // The place goes to who waits longest, so that nobody who comes now is faster.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running--;
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.length >= maxWaiting) throw new SecretsBusyError();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
