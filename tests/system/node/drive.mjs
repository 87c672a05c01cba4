// The official SDK for Node, driven by test_node_sdk.py: prints what it saw as one JSON object.
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, picture] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const seen = {};
const red = Buffer.from(picture, "base64");
const upload = (name) => toFile(red, name, { type: "image/png" });
const tool = { type: "image_generation", model: "gpt-image-1", quality: "low", size: "1024x1024" };

const plain = await client.images.generate({ model: "gpt-image-1", prompt: "a fox", quality: "low", n: 2 });
seen.generate = { images: plain.data.length, tokens: plain.usage.output_tokens, bytes: plain.data[0].b64_json.length };

seen.stream = [];
const stream = await client.images.generate({
  model: "gpt-image-1", prompt: "a fox", quality: "low", size: "1024x1024", stream: true, partial_images: 2,
});
for await (const event of stream) seen.stream.push([event.type, event.usage?.output_tokens ?? null]);

const edited = await client.images.edit({
  model: "gpt-image-1", prompt: "a basket", quality: "low",
  image: [await upload("a.png"), await upload("b.png"), await upload("c.png"), await upload("d.png")],
});
seen.edit = { images: edited.data.length, input: edited.usage.input_tokens_details.image_tokens };

const masked = await client.images.edit({
  model: "gpt-image-1", prompt: "a pool", quality: "low", image: await upload("a.png"), mask: await upload("m.png"),
  stream: true, partial_images: 1,
});
seen.masked = [];
for await (const event of masked) seen.masked.push(event.type);

const response = await client.responses.create({ model: "gpt-5", input: "draw a fox", tools: [tool] });
const drawn = (one) => one.output.filter((item) => item.type === "image_generation_call");
seen.response = { drawn: drawn(response).length, tokens: response.tool_usage.image_gen.output_tokens };

const followUp = await client.responses.create({
  model: "gpt-5", input: "make it blue", previous_response_id: response.id, tools: [tool],
});
seen.followUp = { drawn: drawn(followUp).length, previous: followUp.previous_response_id === response.id };

seen.responseStream = [];
const events = await client.responses.create({
  model: "gpt-5", input: "draw a fox", stream: true, tools: [{ ...tool, partial_images: 2 }],
});
for await (const event of events) seen.responseStream.push([event.sequence_number, event.type]);

const file = await client.files.create({ file: await upload("red.png"), purpose: "vision" });
const content = Buffer.from(await (await client.files.content(file.id)).arrayBuffer());
seen.file = { same: content.equals(red), deleted: (await client.files.delete(file.id)).deleted };

const conversation = await client.conversations.create({});
seen.conversation = (await client.conversations.retrieve(conversation.id)).id === conversation.id;

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);

const { response: raw } = await client.images.generate({ model: "gpt-image-2", prompt: "a fox", quality: "low" }).withResponse();
seen.ids = [raw.headers.get("x-imagegate-id"), raw.headers.get("x-request-id")];

seen.errors = [];
for (const attempt of [
  () => new OpenAI({ baseURL, apiKey: "sk-wrong" }).images.generate({ prompt: "a fox" }),
  () => client.images.generate({ model: "gpt-image-1", prompt: "a fox", stream: true, n: 2 }),
  () => client.responses.create({ model: "gpt-5", input: "x", tools: [{ type: "web_search" }] }),
]) {
  try {
    await attempt();
    seen.errors.push(null);
  } catch (error) {
    seen.errors.push([error.status, error.code, error.param ?? null]);
  }
}
console.log(JSON.stringify(seen));
