/** The engine's state may not be the log's: it is thrown away, and the engine starts again from a snapshot. */
export class Setback extends Error {
  override readonly name = "Setback";
}

/** The engine stops with an alarm, and does not go on before a person has looked at it and started it again. */
export class Halt extends Error {
  override readonly name: string = "Halt";
}

/** The events of an entry say something else than this engine: one of the two is wrong, and nobody knows which. */
export class Divergence extends Halt {}
