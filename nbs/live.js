// A button puts a living explorer into the page: Python in a frame, from the folder "lite".

for (const place of document.querySelectorAll(".live:not([data-ready])")) {
  place.dataset.ready = "";
  const button = place.querySelector("button");
  const note = place.querySelector("[role=status]");
  const lite = new URL(`${place.dataset.lite}/`, location.href);

  const fetchCode = async () => {
    const reply = await fetch(new URL("start.json", lite));
    if (!reply.ok) throw new Error(`the server says ${reply.status}`);
    return (await reply.json())[place.dataset.step];
  };

  const start = (code) => {
    const frame = document.createElement("iframe");
    const address = new URL("repl/index.html", lite);
    address.search = new URLSearchParams({
      kernel: "python", execute: "1", hideCodeInput: "1", showBanner: "0", code,
    });
    frame.src = address;
    frame.title = "A living explorer";
    frame.allow = "clipboard-write";
    place.append(frame);
    button.remove();
    note.textContent = "Python is starting below. The first picture takes about half a minute.";
  };

  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      start(await fetchCode());
    } catch (error) {
      button.disabled = false;
      note.textContent = `It can't be started here: ${error.message}. The picture above shows`
        + " what it looks like, and pip install digitseq brings it to your machine.";
    }
  });
}
