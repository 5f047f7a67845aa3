/** "up": from the client to the server; "down": what comes back. */
export type Direction = "up" | "down";

/** A message of the protocol, as far as it is looked at. */
export interface Message {
  readonly direction: Direction;
  /**
   * Redis: the command in capitals (`XACK`), of a script of ours `script <name>`; of an answer, what it answers. Postgres: the
   * message as its manual calls it (`Query`, `CommandComplete`).
   */
  readonly name: string;
  /**
   * Redis: the arguments, or the beginning of the answer, joined by blanks. Postgres: the statement, the tag of a
   * CommandComplete, or the fields of an error. Cut off after some hundred characters.
   */
  readonly text: string;
}

/** A message and the bytes of a chunk at which it begins and ends; it begins at 0 where it began in a chunk before. */
export interface Frame {
  readonly message: Message;
  readonly start: number;
  readonly end: number;
}

/** Reads along one connection, from its first byte on. It keeps no more of a message than what is looked at. */
export interface Wire {
  /** The messages that end in this chunk. */
  read(direction: Direction, chunk: Buffer): Frame[];
}
