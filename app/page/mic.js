// The button that starts and stops listening. It asks for the microphone itself, in the click, so that the page knows
// what the browser said: `said` goes to Python as {on, permission, secure, trouble, at}.

// The connection's frame must be drawn before it is told to start: told while it is being built, it starts several times,
// and the browser answers one offer with the candidates of another.
const frameReady = async () => {
  for (let tries = 0; tries < 200; tries++) {
    const root = document.querySelector('iframe[title*="webrtc"]')?.contentDocument?.getElementById("root");
    if (root?.childElementCount) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

export default function ({ parentElement, data, setStateValue }) {
  const button = parentElement.querySelector("button");
  const label = parentElement.querySelector(".label");
  const on = Boolean(data.on);
  button.dataset.on = on;
  label.textContent = on ? data.stop : data.start;
  button.setAttribute("aria-pressed", on);
  button.disabled = false;
  button.removeAttribute("aria-disabled");
  const say = (said) => setStateValue("said", { secure: window.isSecureContext, trouble: "", at: Date.now(), ...said });

  // While the browser asks, the button is dead but not `disabled`: that would take the keyboard's focus away from it.
  button.onclick = async () => {
    if (button.ariaDisabled === "true") return;
    if (on) {
      say({ on: false, permission: "granted" });
      return;
    }
    if (!navigator.mediaDevices?.getUserMedia) {
      say({ on: false, permission: "", trouble: "insecure" });
      return;
    }
    button.ariaDisabled = "true";
    // Tell that the browser is asking, but only if it takes a while: people need time to answer, machines do not.
    const asking = setTimeout(() => say({ on: false, permission: "asking" }), 400);
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      clearTimeout(asking);
      await frameReady();
      stream.getTracks().forEach((track) => track.stop());
      say({ on: true, permission: "granted" });
    } catch (error) {
      clearTimeout(asking);
      button.removeAttribute("aria-disabled");
      const denied = error.name === "NotAllowedError" || error.name === "SecurityError";
      say({ on: false, permission: denied ? "denied" : "", trouble: denied ? "" : error.name });
    }
  };
}
