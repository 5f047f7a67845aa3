import { get as getInClear } from "node:http";
import { get as getByTls } from "node:https";

/**
 * What the image's HEALTHCHECK runs: exit code 0 where the role of this container answers /healthz. It asks on loopback, so
 * whose name the certificate carries does not matter.
 */

const { PENSTOCK_HTTP_PORT, PENSTOCK_TLS_CERT_FILE } = process.env;
const options = { host: "127.0.0.1", port: PENSTOCK_HTTP_PORT || "8080", path: "/healthz", rejectUnauthorized: false };
const get = PENSTOCK_TLS_CERT_FILE ? getByTls : getInClear;
get(options, (response) => process.exit(response.statusCode === 200 ? 0 : 1)).on("error", () => process.exit(1));
