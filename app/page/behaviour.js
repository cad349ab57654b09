// What buttons inside st.html do: data-play plays the sound beside it, data-seek moves the player of a clip.
export default function () {
  const players = () => document.querySelectorAll("audio");
  const pauseOthers = (mine) => players().forEach((other) => other !== mine && other.pause());

  const click = (event) => {
    const play = event.target.closest?.("[data-play]");
    if (play) {
      const audio = play.parentElement.querySelector("audio");
      if (!audio) return;
      pauseOthers(audio);
      const show = () => {
        const playing = !audio.paused && !audio.ended;
        play.dataset.playing = playing;
        play.setAttribute("aria-pressed", playing);
      };
      audio.onplay = audio.onpause = audio.onended = show;
      audio.paused ? audio.play() : audio.pause();
      return;
    }
    const seek = event.target.closest?.("[data-seek]");
    if (seek) {
      const audio = document.querySelector(`.st-key-${seek.dataset.player} audio`);
      if (!audio) return;
      pauseOthers(audio);
      audio.currentTime = Number(seek.dataset.seek);
      audio.play();
    }
  };
  document.addEventListener("click", click);
  return () => document.removeEventListener("click", click);
}
