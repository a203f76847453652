// Which point lies next in a direction, on a plane of pixels.

const SIDEWAYS = 2; // times as far as it is, a point lies that is beside the way
const WAYS = { Right: [1, 0], Left: [-1, 0], Down: [0, 1], Up: [0, -1] };
const SQUARE = { wide: 1, high: 1 };

/** The point that is nearest in a direction (Right, Left, Down, Up), first of all within 45 degrees of it; null for none. box: {wide, high}. */
export function ahead(points, here, direction, box = SQUARE) {
  const [x, y] = WAYS[direction];
  const [best, least] = [[null, null], [Infinity, Infinity]]; // within 45 degrees, and beyond
  for (const one of points) {
    const [across, down] = [(one.x - here.x) * box.wide, (one.y - here.y) * box.high];
    const [along, aside] = [across * x + down * y, Math.abs(across * y + down * x)];
    if (along <= 0) continue;
    const [far, beyond] = [along + SIDEWAYS * aside, Number(aside > along)];
    if (far < least[beyond]) [best[beyond], least[beyond]] = [one, far];
  }
  return best[0] ?? best[1];
}

/** The point that is nearest to a place; null of none. */
export function beside(points, { x, y }, box = SQUARE) {
  let [best, least] = [null, Infinity];
  for (const one of points) {
    const far = Math.hypot((one.x - x) * box.wide, (one.y - y) * box.high);
    if (far < least) [best, least] = [one, far];
  }
  return best;
}
