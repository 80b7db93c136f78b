// Browsers start no worker on a page that is opened from a disk, and the search of the manual is one. There, and only
// there, a hidden frame does the same: the program runs in it, and messages go between it and the page by calls.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(address) {
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.frame = frame;
      const inside = frame.contentWindow;
      inside.postMessage = (data) => {
        const copy = structuredClone(data); // as a worker's messages are: the program changes what it is given
        setTimeout(() => this.onmessage && this.onmessage({ data: copy }));
      };
      this.loaded = new Promise((resolve, reject) => {
        const program = inside.document.createElement("script");
        program.src = new URL(address, location.href).href;
        program.onload = () => resolve(inside);
        program.onerror = () => reject(new Error(program.src));
        inside.document.body.append(program);
      });
      this.loaded.catch((error) => this.onerror && this.onerror({ error, preventDefault() {} }));
    }
    postMessage(data) {
      const copy = structuredClone(data);
      this.loaded.then((inside) => inside.onmessage({ data: copy }), () => {});
    }
    terminate() {
      this.frame.remove();
    }
  };
}
