/** Where the running stack is, and what its first admin logs in with. */
export interface DemoTarget {
  /** URLs: the gRPC door, the HTTP port of ingest, the two servers. */
  readonly grpc: string;
  readonly http: string;
  readonly redis: string;
  readonly postgres: string;
  /** The secret of the account "admin". */
  readonly adminSecret: string;
  /** A secret for the demo trader; the same at each start on this state folder. */
  readonly traderSecret: string;
}

/** Tokens of the demo trader and of the admin. */
export interface DemoTokens {
  readonly token: string;
  readonly adminToken: string;
}

/**
 * Makes what a first order needs, where it is not there yet: the demo trader's account and the demo instruments; and logs
 * both accounts in. Called at every start, when all roles are ready and before the stack's addresses are written.
 */
export async function prepareDemo(_target: DemoTarget): Promise<DemoTokens> {
  return { token: "", adminToken: "" };
}
