// The official SDK for Node against limits, driven by test_limits_sdk.py: prints what it saw as one JSON object.
import OpenAI from "openai";

const [baseURL, apiKey, mark, calls, together] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 2 });
const picture = { model: "gpt-image-1", prompt: "a fox", size: "1024x1024", quality: "low" };

const draw = async (number) => {
  try {
    const headers = { "x-client-request-id": `${mark}-${number}` };
    return { images: (await client.images.generate(picture, { headers })).data.length };
  } catch (error) {
    return { error: error.constructor.name, status: error.status, code: error.code, type: error.type };
  }
};

const seen = [];
const numbers = [...Array(Number(calls)).keys()];
if (together === "together") seen.push(...(await Promise.all(numbers.map(draw))));
else for (const number of numbers) seen.push(await draw(number));
console.log(JSON.stringify(seen));
