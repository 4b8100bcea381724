// A classic script: it runs also where modules do not, and says what the page lacks.
(function () {
  "use strict";
  var lacks = "";
  if (location.protocol === "file:") {
    lacks = "Opened as a file, this page may not read its networks. Run “python -m http.server” in its folder and open http://localhost:8000 instead.";
  } else if (typeof WebAssembly !== "object") {
    lacks = "The networks need WebAssembly, which this browser lacks or has switched off. Allow it, or open the page in another browser.";
  } else if (!("noModule" in HTMLScriptElement.prototype) || !window.Worker || !window.OfflineAudioContext) {
    lacks = "This browser is too old for the page: it lacks modules, workers or Web Audio. Open the page in a newer one.";
  }
  if (!lacks) return;
  document.documentElement.classList.add("lacking");
  var message = document.getElementById("message");
  message.textContent = lacks;
  message.hidden = false;
  document.getElementById("status").textContent = "";
})();
