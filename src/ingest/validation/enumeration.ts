// Proto enums are open: a decoded field can hold any 32-bit number.

/** The named numbers of an enum, UNSPECIFIED aside. */
export interface Enumeration<T extends number = number> {
  /** As a bit set; penstock.v1 has no enum number above 31. */
  readonly bits: number;
  readonly names: readonly (readonly [number: T, name: string])[];
}

export function enumeration<T extends number>(generated: Readonly<Record<string, T>>): Enumeration<T> {
  const names = Object.entries(generated).flatMap(([name, number]) => (number === 0 ? [] : [[number, name] as const]));
  return { bits: names.reduce<number>((bits, [number]) => bits | (1 << number), 0), names };
}

export function includes(bits: number, number: number): boolean {
  return number >= 0 && number < 32 && ((bits >>> number) & 1) === 1;
}

/** A named number, or what is wanted. */
export function readRequired(number: number, of: Enumeration): number | string {
  if (number === 0) return `is required: ${namesOf(of.bits, of)}`;
  return readOptional(number, of);
}

/** A named number or 0 (UNSPECIFIED), or what is wanted. */
export function readOptional(number: number, of: Enumeration): number | string {
  if (number === 0 || includes(of.bits, number)) return number;
  return `unknown number ${number}: must be ${namesOf(of.bits, of)}`;
}

/** "GTC, IOC or FOK". */
export function namesOf(bits: number, of: Enumeration): string {
  const names = of.names.flatMap(([number, name]) => (includes(bits, number) ? [name] : []));
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} or ${names[names.length - 1]}`;
}
