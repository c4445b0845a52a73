// Rewrites an MP4 file with one of the writers that JavaScript packages bring: node prepare.js WRITER IN OUT VARIANT
const fs = require("fs");
const { createRequire } = require("module");
const need = createRequire(process.env.PREPARE_MODULES + "/x.js");
const [writer, source, target, variant] = process.argv.slice(2);
const bytes = fs.readFileSync(source);

async function mediabunny() {
  const m = need("mediabunny");
  const input = new m.Input({ source: new m.BufferSource(bytes), formats: m.ALL_FORMATS });
  const start = { start: "in-memory", fragmented: "fragmented", plain: false }[variant];
  const Format = target.endsWith(".mov") ? m.MovOutputFormat : m.Mp4OutputFormat;
  const output = new m.Output({ format: new Format({ fastStart: start }), target: new m.BufferTarget() });
  const conversion = await m.Conversion.init({ input, output });
  await conversion.execute();
  fs.writeFileSync(target, Buffer.from(output.target.buffer));
}

async function muxer() {
  const m = need("mp4-muxer");
  const b = need("mediabunny");
  const input = new b.Input({ source: new b.BufferSource(bytes), formats: b.ALL_FORMATS });
  const video = await input.getPrimaryVideoTrack();
  const audio = await input.getPrimaryAudioTrack();
  const start = { start: "in-memory", fragmented: "fragmented", plain: false }[variant];
  const options = { target: new m.ArrayBufferTarget(), fastStart: start };
  const settings = await video.getDecoderConfig();
  options.video = { codec: "avc", width: settings.codedWidth, height: settings.codedHeight };
  const sound = audio && (await audio.getDecoderConfig());
  if (sound) options.audio = { codec: "aac", numberOfChannels: sound.numberOfChannels, sampleRate: sound.sampleRate };
  options.firstTimestampBehavior = "offset";
  const made = new m.Muxer(options);
  const add = async (track, config, call) => {
    const sink = new b.EncodedPacketSink(track);
    for await (const p of sink.packets()) {
      // This writer knows no edit lists: what an encoder put before the beginning is left out.
      if (p.timestamp < 0) continue;
      call(p.data, p.type, Math.round(p.timestamp * 1e6), Math.round(p.duration * 1e6), { decoderConfig: config });
    }
  };
  await add(video, settings, (...a) => made.addVideoChunkRaw(...a));
  if (sound) await add(audio, sound, (...a) => made.addAudioChunkRaw(...a));
  made.finalize();
  fs.writeFileSync(target, Buffer.from(options.target.buffer));
}

async function box() {
  const m = need("mp4box");
  const file = m.createFile(true);
  const data = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  data.fileStart = 0;
  await new Promise((ready, failed) => {
    file.onReady = ready;
    file.onError = failed;
    file.appendBuffer(data);
    file.flush();
  });
  const pieces = [];
  file.onSegment = (id, user, buffer) => pieces.push(Buffer.from(buffer));
  file.getInfo().tracks.forEach((t) => file.setSegmentOptions(t.id, null, { nbSamples: variant === "long" ? 100 : 20 }));
  const init = file.initializeSegmentation();
  pieces.unshift(...[].concat(init.buffer ?? init.map((i) => i.buffer)).map((b) => Buffer.from(b)));
  file.start();
  file.flush();
  fs.writeFileSync(target, Buffer.concat(pieces));
}

({ mediabunny, "mp4-muxer": muxer, "mp4box.js": box })[writer]().catch((e) => {
  console.error(e);
  process.exit(1);
});
