(function () {
  "use strict";
  var all = Array.from(document.querySelectorAll("details"));
  var opened = all.map(function (d) { return d.open; });
  var texts = new Map();
  document.querySelectorAll("pre").forEach(function (pre) {
    texts.set(pre, pre.textContent);
  });
  var box = document.getElementById("search");
  var found = document.getElementById("found");
  document.getElementById("tools").hidden = false;

  function search() {
    var word = box.value.trim().toLowerCase();
    var count = 0;
    function has(text) { return text.toLowerCase().indexOf(word) !== -1; }
    all.forEach(function (details, n) {
      var here = 0;
      details.querySelectorAll("tr").forEach(function (row) {
        if (row.parentNode.tagName === "THEAD") { return; }
        row.hidden = word !== "" && !has(row.textContent);
        if (!row.hidden) { here += 1; }
      });
      details.querySelectorAll("pre").forEach(function (pre) {
        var text = texts.get(pre);
        if (word !== "") {
          var lines = text.split("\n").filter(has);
          here += lines.length;
          text = lines.join("\n");
        }
        pre.textContent = text;
      });
      details.querySelectorAll("p").forEach(function (p) {
        if (has(p.textContent)) { here += 1; }
      });
      if (has(details.querySelector("h2").textContent)) { here += 1; }
      details.hidden = word !== "" && here === 0;
      details.open = word === "" ? opened[n] : here > 0;
      count += here;
    });
    found.textContent = word === "" ? "" : count + " found";
  }

  function setAll(open) {
    all.forEach(function (d, n) { d.open = open; opened[n] = open; });
  }

  function show() {
    var target = document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") { target.open = true; }
  }

  box.addEventListener("input", search);
  document.getElementById("open").addEventListener("click", function () {
    setAll(true);
  });
  document.getElementById("close").addEventListener("click", function () {
    setAll(false);
  });
  window.addEventListener("hashchange", show);
  show();
}());
