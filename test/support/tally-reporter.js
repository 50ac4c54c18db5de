/** Closes a run with one line that is easy to find in a long log. */
module.exports = class TallyReporter {
  onRunComplete(_contexts, results) {
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    const skipped = results.numPendingTests + results.numTodoTests;
    process.stdout.write(`\nTally: ${results.numPassedTests} passed, ${failed} failed, ${skipped} skipped\n`);
  }
};
