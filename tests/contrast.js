// Measure every piece of text that is shown: the contrast of its colour with what lies under it.
() => {
  const parse = (text) => {
    const numbers = (text.match(/[\d.]+(e-\d+)?/g) || []).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    const [red, green, blue, alpha = 1] = numbers;
    return [red * scale, green * scale, blue * scale, alpha];
  };
  const over = (top, under) =>
    [0, 1, 2].map((k) => top[k] * top[3] + under[k] * (1 - top[3])).concat([1]);
  const luminance = (colour) => {
    const [red, green, blue] = colour.slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ancestors = (element) => {
    const line = [];
    for (let one = element; one; one = one.parentElement) line.unshift(one);
    return line;
  };
  const measured = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const words = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    const style = getComputedStyle(element);
    if (!words || !element.getClientRects().length || style.visibility === "hidden") continue;
    let under = [255, 255, 255, 1];
    let opacity = 1;
    for (const one of ancestors(element)) {
      const its = getComputedStyle(one);
      under = over(parse(its.backgroundColor), under);
      opacity *= Number(its.opacity);
    }
    if (opacity === 0) continue;
    const colour = parse(style.color);
    colour[3] *= opacity;
    const levels = [luminance(over(colour, under)), luminance(under)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    measured.push({
      words: words.slice(0, 40),
      where: `${element.tagName.toLowerCase()}.${element.className}`,
      ratio: Math.round(((levels[0] + 0.05) / (levels[1] + 0.05)) * 100) / 100,
      needed: large ? 3 : 4.5,
    });
  }
  return measured;
}
