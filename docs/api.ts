import { execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

import {
  createFileRegistry,
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescMethod,
} from "@bufbuild/protobuf";
import { type DescFile, type DescService, fromBinary, ScalarType } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const ROOT = join(import.meta.dirname, "..");

/** What the numbers of a declaration's path in its file mean (descriptor.proto). */
const MESSAGE = 4;
const ENUM = 5;
const SERVICE = 6;
const PART = 2; // a field of a message, a value of an enum, a method of a service

/** Asked by other roles alone. */
const INTERNAL: ReadonlySet<string> = new Set(["EngineService"]);

type Type = DescMessage | DescEnum;

/** docs/api.md: the services of the API, and the messages and enums that their methods need, with the comments of the protos. */
export function apiPage(): string {
  const files = readFiles();
  const services = files.flatMap((file) => file.services).filter(({ name }) => !INTERNAL.has(name));
  const types = typesOf(services);
  const messages = types.filter((type) => type.kind === "message");
  const enums = types.filter((type) => type.kind === "enum");
  const comments = commentsOf(files);
  const access = accessOf();
  return [
    "# The API",
    "",
    "The services of `penstock.v1` with all that their methods take and answer. Made by `npm run docs` from",
    "[proto/penstock/v1](../proto/penstock/v1) and its comments; a comment stands with the first field that it is about.",
    "[clients.md](clients.md) shows how to call them.",
    "",
    "Who may call: `anyone` needs no token; `read` is any account with a token, `trade` one that may trade, `admin` the role admin.",
    "In JSON a field is written `lowerCamelCase` (or as here), an enum by its name, a 64-bit number as a string, a",
    "`google.protobuf.Timestamp` as in `2030-01-31T12:00:00Z`.",
    "",
    ...services.flatMap((service) => serviceSection(service, comments, access)),
    "## Messages",
    "",
    ...messages.flatMap((message) => messageSection(message, types, comments)),
    "## Enums",
    "",
    ...enums.flatMap((type) => enumSection(type, comments)),
  ].join("\n");
}

/** The files of the API, by name. buf keeps their comments, which the generated code does not. */
function readFiles(): DescFile[] {
  const buf = join(ROOT, "node_modules", ".bin", "buf");
  const built = execFileSync(buf, ["build", "--as-file-descriptor-set", "-o", "-#format=binpb"], { cwd: ROOT });
  return [...createFileRegistry(fromBinary(FileDescriptorSetSchema, built)).files]
    .filter(({ proto }) => proto.package === "penstock.v1")
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Every type of the API that a method of the services leads to, in the order in which one meets them. */
function typesOf(services: readonly DescService[]): Type[] {
  const found = new Set<Type>();
  const visit = (type: Type | undefined): void => {
    if (type === undefined || found.has(type) || !type.typeName.startsWith("penstock.")) return;
    found.add(type);
    if (type.kind === "message") for (const field of type.fields) visit(field.message ?? field.enum);
  };
  for (const { methods } of services) {
    for (const { input, output } of methods) for (const type of [input, output]) visit(type);
  }
  return [...found];
}

type Comments = ReadonlyMap<object, string>;

/** The comment in front of each declaration, by its description. */
function commentsOf(files: readonly DescFile[]): Comments {
  const comments = new Map<object, string>();
  for (const { proto } of files) {
    const byPath = new Map(
      proto.sourceCodeInfo?.location.map(({ path, leadingComments }) => [path.join("."), leadingComments]),
    );
    const note = (described: object, ...path: number[]): void => {
      const comment = byPath.get(path.join("."));
      if (comment) comments.set(described, comment.replace(/^ /gm, "").trim());
    };
    const noteAll = (kind: number, wholes: readonly object[], partsOf: (whole: never) => readonly object[]): void => {
      for (const [i, whole] of wholes.entries()) {
        note(whole, kind, i);
        for (const [j, part] of partsOf(whole as never).entries()) note(part, kind, i, PART, j);
      }
    };
    noteAll(MESSAGE, proto.messageType, ({ field }: (typeof proto.messageType)[number]) => field);
    noteAll(ENUM, proto.enumType, ({ value }: (typeof proto.enumType)[number]) => value);
    noteAll(SERVICE, proto.service, ({ method }: (typeof proto.service)[number]) => method);
  }
  return comments;
}

/** Who may call each method, as ingest is told where it puts its services together; by service and local name. */
function accessOf(): ReadonlyMap<string, string> {
  const access = new Map<string, string>();
  for (const file of globSync("src/ingest/*.ts", { cwd: ROOT })) {
    const source = readFileSync(join(ROOT, file), "utf8");
    for (const [, service, methods = ""] of source.matchAll(/\bserve\((\w+), \{([^}]*)\}\)/g)) {
      for (const [, name, who = ""] of methods.matchAll(/(\w+): \["(\w+)"/g)) access.set(`${service}.${name}`, who);
    }
  }
  return access;
}

function serviceSection(service: DescService, comments: Comments, access: ReadonlyMap<string, string>): string[] {
  const row = (method: DescMethod): string[] => {
    const who = access.get(`${service.name}.${method.localName}`);
    if (who === undefined) throw new Error(`src/ingest does not say who may call ${service.name}.${method.name}`);
    const streams = method.methodKind;
    const takes = `${streams === "client_streaming" || streams === "bidi_streaming" ? "stream of " : ""}${link(method.input)}`;
    const gives = `${streams === "server_streaming" || streams === "bidi_streaming" ? "stream of " : ""}${link(method.output)}`;
    return [`\`${method.name}\``, who, takes, gives, cell(comments.get(method.proto))];
  };
  return [
    `## ${service.name}`,
    "",
    ...paragraphs(comments.get(service.proto)),
    ...table(["method", "who", "takes", "answers", ""], service.methods.map(row)),
  ];
}

function messageSection(message: DescMessage, types: readonly Type[], comments: Comments): string[] {
  const row = (field: DescField): string[] => {
    const choice = field.oneof === undefined ? "" : `one of \`${field.oneof.name}\`: `;
    return [`\`${field.name}\``, `${choice}${typeOf(field, types)}`, cell(comments.get(field.proto))];
  };
  const fields =
    message.fields.length === 0 ? ["No fields.", ""] : table(["field", "type", ""], message.fields.map(row));
  return [`### ${message.name}`, "", ...paragraphs(comments.get(message.proto)), ...fields];
}

function enumSection(type: DescEnum, comments: Comments): string[] {
  const rows = type.values.map(({ name, number, proto }) => [`\`${name}\``, String(number), cell(comments.get(proto))]);
  return [`### ${type.name}`, "", ...paragraphs(comments.get(type.proto)), ...table(["value", "number", ""], rows)];
}

function typeOf(field: DescField, types: readonly Type[]): string {
  const named = field.message ?? field.enum;
  const known = named !== undefined && types.includes(named);
  const one = known ? link(named) : `\`${named?.typeName ?? nameOf(field.scalar)}\``;
  if (field.fieldKind === "map") return `map of \`${nameOf(field.mapKey)}\` to ${one}`;
  return field.fieldKind === "list" ? `list of ${one}` : one;
}

function nameOf(scalar: ScalarType | undefined): string {
  return scalar === undefined ? "" : ScalarType[scalar].toLowerCase();
}

function link({ name }: Type): string {
  return `[${name}](#${name.toLowerCase()})`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const lines = [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`.replaceAll("|  |", "| |"));
  return [...lines, ""];
}

function cell(comment: string | undefined): string {
  return (comment ?? "").replaceAll(/\s+/g, " ").replaceAll("|", "\\|");
}

function paragraphs(comment: string | undefined): string[] {
  return comment === undefined ? [] : [comment, ""];
}
