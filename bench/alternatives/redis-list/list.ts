/** The list of orders that wait for the writer, oldest first. */
export const LIST = "orders";
