// The page Models: adds a model by name and waits until a worker has described it.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});
  const PATIENCE_MS = 60000;
  const STEP_MS = 500;

  function say(text) {
    const answer = document.getElementById("add-model-answer");
    if (answer) answer.textContent = text;
  }

  async function described(name, until) {
    const card = await vitrine.ask("GET", `/models/${name.split("/").map(encodeURIComponent).join("/")}`);
    if (card.described || card.problem) return card;
    if (Date.now() > until) throw { message: "No worker has looked at the model yet. Is one running?" };
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    return described(name, until);
  }

  async function add() {
    const input = document.getElementById("add-model-name");
    const name = input ? input.value.trim() : "";
    if (!name) {
      say("Type the name of a model first.");
      return;
    }
    say(`A worker is looking at ${name}.`);
    try {
      let card = await vitrine.ask("POST", "/models", { name });
      if (!card.described) card = await described(card.name, Date.now() + PATIENCE_MS);
      if (card.problem) {
        say(card.problem.message);
        return;
      }
      vitrine.announce(`${card.title} was added.`);
      if (window.location.pathname === "/models") vitrine.go(`/models?added=${encodeURIComponent(card.name)}`);
    } catch (problem) {
      say(problem.message || "That did not work. Try again.");
    }
  }
  actions["add-model"] = add;

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.id === "add-model-name") add();
  });
})();
