/** The file of a database can't be taken: one line, without the file's name and without any value that may be secret. */
export class FileDatabaseError extends Error {
  override readonly name = 'FileDatabaseError';
}
