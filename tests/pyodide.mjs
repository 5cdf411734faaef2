// Runs a Python program in Pyodide, with this checkout on its path:
// node --experimental-wasm-stack-switching pyodide.mjs FOLDER_OF_PYODIDE PROGRAM ARGUMENT ...
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, program, ...args] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(join(folder, "node_modules/pyodide/pyodide.mjs")));
const python = await loadPyodide();
const mount = (target, root) => {
  python.FS.mkdir(target);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, target);
};
mount("/checkout", join(import.meta.dirname, ".."));
mount("/packages", join(folder, "packages"));
python.globals.set("arguments", python.toPy(args));
await python.runPythonAsync("import sys; sys.path[:0] = ['/checkout', '/packages']");
await python.runPythonAsync(program);
