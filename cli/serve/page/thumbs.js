// Pictures into elements: by their address, or, where a token is wanted, through fetch and a blob that is given back.

import { blob, token } from "./api.js";

const SIDES = [128, 256, 512, 1024];

/** The address of a hit's small picture for so many pixels of the page. */
export function thumb(hit, pixels) {
  const wanted = pixels * Math.min(2, devicePixelRatio || 1);
  const side = SIDES.find((one) => one >= wanted * 0.9) ?? 1024;
  return hit.thumb.replace(/([?&])s=\d+/, `$1s=${side}`);
}

/** Show an address in an img. gone: called with a line where it cannot be shown. */
export function show(image, address, gone) {
  image.dataset.address = address;
  image.onerror = () => why(image, address, gone);
  if (token()) fetched(image, address, gone);
  else image.src = address;
}

async function fetched(image, address, gone) {
  try {
    const url = URL.createObjectURL(await blob(address));
    const back = () => URL.revokeObjectURL(url);
    if (image.dataset.address !== address) return back();
    image.addEventListener("load", back, { once: true });
    image.addEventListener("error", back, { once: true });
    image.onerror = () => gone("It cannot be shown here.");
    image.src = url;
  } catch (error) {
    if (image.dataset.address === address) gone(line(error));
  }
}

async function why(image, address, gone) {
  if (!image.isConnected) return;
  try {
    await blob(address);
    gone("It cannot be shown here.");
  } catch (error) {
    gone(line(error));
  }
}

function line(error) {
  if (error.status === 410) return "The file is gone.";
  if (error.status === 404) return "It is not in the index any more.";
  if (error.status === 429) return "Too much was asked at once: scroll back in a moment.";
  return error.status ? "It cannot be shown." : "The server is away.";
}
