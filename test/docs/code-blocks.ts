import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

/**
 * The TypeScript in a Markdown file. Blocks whose info string is `ts <name>` are chapters of one program, which
 * is run: its imports are gathered, its blocks joined in order. A block with `ts` alone stands for itself and is
 * only type-checked.
 */
export interface DocProgram {
  /** For messages: the file and the name, or the line it begins in. */
  readonly label: string;
  readonly isRun: boolean;
  readonly source: string;
  /** What `console.log(…); // …` lines promise, in order. */
  readonly promised: readonly string[];
}

const FENCE = /^```ts(?: +(\S+))?\n([\s\S]*?)^```$/gm;
const PROMISE = /^\s*console\.log\(.*\); \/\/ (.*)$/gm;

export function readPrograms(root: string, file: string): DocProgram[] {
  const text = readFileSync(join(root, file), 'utf8');
  const named = new Map<string, string[]>();
  const programs: DocProgram[] = [];
  for (const { 1: name, 2: code = '', index } of text.matchAll(FENCE)) {
    if (name === undefined) {
      const line = text.slice(0, index).split('\n').length;
      programs.push(program(`${file}:${line}`, false, [code]));
    } else {
      named.set(name, [...(named.get(name) ?? []), code]);
    }
  }
  for (const [name, blocks] of named) programs.push(program(`${file} ${name}`, true, blocks));
  return programs;
}

function program(label: string, isRun: boolean, blocks: readonly string[]): DocProgram {
  const source = isRun ? merge(blocks) : blocks.join('\n');
  const promised = [...source.matchAll(PROMISE)].map(([, text = '']) => text);
  return { label, isRun, source, promised };
}

/** One module of several blocks, each of which is complete and so repeats imports of those before it. */
function merge(blocks: readonly string[]): string {
  const imports = new Map<string, Set<string>>();
  const bodies = blocks.map((code) => {
    const file = ts.createSourceFile('block.mts', code, ts.ScriptTarget.ES2022, true);
    let body = code;
    for (const statement of [...file.statements].reverse()) {
      if (!ts.isImportDeclaration(statement)) continue;
      body = body.slice(0, statement.getFullStart()) + body.slice(statement.getEnd());
      const from = statement.moduleSpecifier.getText();
      const names = imports.get(from) ?? new Set();
      imports.set(from, names);
      const bindings = statement.importClause?.namedBindings;
      if (bindings !== undefined && ts.isNamedImports(bindings))
        for (const element of bindings.elements) names.add(element.getText());
    }
    return body;
  });
  const heads = [...imports].map(([from, names]) => `import { ${[...names].join(', ')} } from ${from};`);
  return `${heads.join('\n')}\n${bodies.join('\n')}`;
}
