/** One line at the end that a script or a reader in a hurry can find. A suite that could not run counts as a failure. */
module.exports = class TallyReporter {
  onRunComplete(_contexts, results) {
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    process.stdout.write(`\nTally: ${results.numPassedTests} passed, ${failed} failed, ${skipped} skipped\n`);
  }
};
