/** What a client was told that must not be. */
export interface Complaint {
  readonly text: string;
  /** It speaks of this order: no complaint where that one was lost within the contract. */
  readonly orderId?: string | undefined;
  /** It is what a client is to be told where the log has lost something. */
  readonly ofLoss?: true;
}
